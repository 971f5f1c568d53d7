"""The ledger: Optuna's storage is the one truth about which trials exist, what they are and how they ended.

Opening a ledger, adopting what an earlier driver left running and going on to the wanted number of trials are one
operation, whether a study is new, killed, finished or extended. What is told to Optuna is written as attributes first,
because a finished Optuna trial cannot be changed.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.config import DataSummary, TrialConfig
from study.disk.files import write_atomic, write_json
from study.disk.layout import OUTCOME, TRIAL, ledger_path, progress_path, trial_path
from study.disk.timestamp import now
from study.search.fixed_trials import fixed_configs, fixed_trials
from study.search.hypervolume import FrontVolume
from study.search.samplers import SearchedStudy, build_sampler
from study.space import SearchSpace

_RUNG = "rung:"
_REFERENCE_POINT = "hypervolume_reference"
EXTRA_ORIGINS = ("replicate", "retrain")
"""Trials beyond the search: they count towards no `num_trials`, never join the front and teach the sampler nothing."""


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A trial to train.

    Attributes:
        number: Its number in the study, from 0.
        origin: Why it exists: `reference`, `first`, `grid` or `search`, or one of `EXTRA_ORIGINS`.
        config: What to train.
    """

    number: int
    origin: str
    config: TrialConfig


class RungResult(NamedTuple):
    """A trial that came to a rung.

    Attributes:
        number: The trial.
        epoch: The rung.
        values: Its objectives then, in the study's order.
        goes_on: What was decided.
    """

    number: int
    epoch: int
    values: list[float]
    goes_on: bool


@dataclasses.dataclass
class Tally:
    """Where a study stands.

    Attributes:
        objectives: Direction by objective.
        completed: Trials trained to their end.
        stopped: Trials stopped early.
        failed: Trials that failed.
        running: Trials handed out in this session and not yet recorded.
        best: The best value of each objective among completed trials.
    """

    objectives: Mapping[str, str]
    completed: int = 0
    stopped: int = 0
    failed: int = 0
    running: int = 0
    best: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def done(self) -> int:
        """Trials that need no more training."""
        return self.completed + self.stopped + self.failed

    def add(self, outcome: str, values: Mapping[str, float] | None) -> None:
        """Counts a trial that ended."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome == "completed" and values is not None:
            for name, direction in self.objectives.items():
                better = min if direction == "minimize" else max
                self.best[name] = better(self.best.get(name, values[name]), values[name])


class Ledger:
    """The trials of one study.

    Args:
        directory: The study's folder.
        space: What is searched.
        data: The data set's summary; spaces take their ranges from it.
        directions: `minimize` or `maximize` by objective, in order; names as recorded (`val/sample_fid`).
        fixed: Trial parameters that the command line fixes for all trials.
        seed: The study's seed.
        sampler: One of `study.search.samplers.SAMPLERS`.
        storage: A database that other studies share; the study's own SQLite file where it is not given.
        name: The study's name in the storage; by default its folder's.
        first_points: Further points to try before the space's own.
        num_trials: Trials the study is to have, where that is known; only the sampler's settings depend on it.
    """

    def __init__(
        self,
        directory: Path,
        space: SearchSpace,
        data: DataSummary,
        *,
        directions: Mapping[str, str],
        fixed: Mapping[str, Any],
        seed: int,
        sampler: str = "tpe",
        storage: optuna.storages.BaseStorage | None = None,
        name: str | None = None,
        first_points: Sequence[Mapping[str, Any]] = (),
        num_trials: int = 100,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.directory = directory
        self.objectives = tuple(directions)
        self.tally = Tally(directions)
        self.extra_tally = Tally(directions)
        self._space = space
        self._data = data
        self._running: dict[int, optuna.trial.Trial] = {}
        self._fixed = fixed
        self._points = fixed_trials(space, data, first_points)
        name = name or directory.name
        storage = optuna.storages.get_storage(storage or f"sqlite:///{ledger_path(directory)}")
        wanted = [optuna.study.StudyDirection[direction.upper()] for direction in directions.values()]
        optuna.create_study(study_name=name, storage=storage, directions=wanted, load_if_exists=True)
        self._study = SearchedStudy(study_name=name, storage=storage)
        trials = self._study.get_trials(deepcopy=False)
        drawn = sum(1 + len(trial.params) for trial in trials)
        self._study.sampler = build_sampler(sampler, seed, drawn, num_trials)
        self._adoptable = [trial for trial in trials if trial.state == TrialState.RUNNING]
        # Counted, not looked up for each trial: a look takes as long as there are trials.
        self._waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        for trial in trials:
            if trial.state.is_finished():
                self._tally_of(trial.user_attrs).add(trial.user_attrs["outcome"], trial.user_attrs["values"])
        searched = [trial for trial in trials if not _is_extra(trial.user_attrs)]
        self._rung_results = sum(key.startswith(_RUNG) for trial in trials for key in trial.user_attrs)
        self._replay_progress(searched)
        self._created = len(searched)
        self._enqueued = sum("origin" in trial.user_attrs for trial in searched)

    @property
    def unfinished(self) -> int:
        """Trials that exist and have not ended: running, waiting, or cut off with their driver."""
        return sum(not trial.state.is_finished() for trial in self.trials())

    @property
    def directions(self) -> Mapping[str, str]:
        """`minimize` or `maximize` by objective."""
        return self.tally.objectives

    @property
    def hypervolume_reference(self) -> list[float] | None:
        """The point up to which the hypervolume is measured, see `FrontVolume`; None until it is settled."""
        return None if self._volume.reference is None else self._volume.reference.tolist()

    @property
    def stale_trials(self) -> int:
        """Trials that have ended since the front last grew; 0 until there is a hypervolume."""
        return self._stale

    def trials(self) -> Sequence[FrozenTrial]:
        """All trials, oldest first; not to be changed."""
        return self._study.get_trials(deepcopy=False)

    def fixed_configs(self) -> Iterator[TrialConfig]:
        """What the trials given beforehand train, in their order; nothing is written."""
        return fixed_configs(self._points, self._space, self._data, self._fixed)

    def next(self, num_trials: int, *, begin: bool = True) -> Assignment | None:
        """The next trial to train: one left running by an earlier driver, a point given beforehand, or a suggestion.

        A trial whose result an earlier driver recorded but had no time to tell is told, not trained again.

        Args:
            num_trials: Trials the study is to have.
            begin: Whether it may be one that has not begun.

        Returns:
            The trial, its folder and `trial.json` written; or None when there is no other.
        """
        while self._adoptable:
            frozen = self._adoptable.pop(0)
            trial = optuna.trial.Trial(self._study, frozen._trial_id)
            if "outcome" not in frozen.user_attrs:
                return self._assign(trial)
            self._tell(trial, frozen.user_attrs)
        if not begin or not self.remain(num_trials):
            return None
        if not self._waiting:
            if self._enqueued < len(self._points):
                origin, point = self._points[self._enqueued]
                self._enqueued += 1
                attributes = {"origin": origin, **({"overrides": dict(point)} if origin == "reference" else {})}
                self._enqueue({} if origin == "reference" else point, attributes)
            self._created += 1
        self._waiting = max(0, self._waiting - 1)
        return self._assign(self._study.ask())

    def remain(self, num_trials: int) -> bool:
        """Whether there are trials that have not begun, when the study is to have so many."""
        searching = not self._space.grid or self._enqueued < len(self._points)
        return self._waiting > 0 or (searching and self._created < num_trials)

    def _enqueue(self, point: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        self._study.enqueue_trial(dict(point), user_attrs=dict(attributes))
        self._waiting += 1

    def requeue_running(self) -> None:
        """Takes back every trial handed out and not recorded: `next` hands it out again."""
        for trial in self._running.values():
            self._tally_of(trial.user_attrs).running -= 1
        # Those still waiting to be adopted are running in the storage as well.
        self._adoptable = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self._running.clear()

    def replicate(self, number: int, seeds: Sequence[int]) -> int:
        """Enqueues a trial's configuration again, once per seed it has not been replicated with.

        Args:
            number: The trial to repeat.
            seeds: Seeds for training; each replicate differs from the trial in its seed alone.

        Returns:
            The replicates of this trial there are now, of these seeds.
        """
        trials = self.trials()
        original = TrialConfig.from_params(trials[number].user_attrs["params"])
        earlier = [trial.user_attrs for trial in trials if trial.user_attrs.get("replicate_of") == number]
        known = {attributes["params"]["seed"] for attributes in earlier}
        for seed in seeds:
            if seed not in known:
                params = original.replace(seed=seed).to_params()
                attributes = {"origin": "replicate", "params": params, "replicate_of": number}
                self._enqueue({}, attributes)
        return len(seeds)

    def retrain(self, number: int, epochs: int) -> None:
        """Enqueues a trial's configuration again with another number of epochs.

        What was asked for before is not enqueued twice, unless it failed.

        Args:
            number: The trial.
            epochs: Passes over the training split, from new initial weights.
        """
        trials = self.trials()
        params = TrialConfig.from_params(trials[number].user_attrs["params"]).replace(epochs=epochs).to_params()
        attributes = {"origin": "retrain", "params": params, "retrain_of": number}
        if not any(
            attributes.items() <= trial.user_attrs.items() and trial.state != TrialState.FAIL for trial in trials
        ):
            self._enqueue({}, attributes)

    def record(
        self,
        number: int,
        outcome: str,
        *,
        epochs: int,
        values: Mapping[str, float] | None = None,
        infeasible: Mapping[str, float] | None = None,
        reason: str | None = None,
    ) -> None:
        """Writes down how a trial ended, in the ledger and in its `outcome.json`.

        Args:
            number: The trial.
            outcome: `completed`, `stopped` or `failed`.
            epochs: Epochs it trained.
            values: The objectives at its last epoch, by recorded name; None for a failed trial.
            infeasible: By name, how far the trial misses being comparable (0 is comparable): `budget`, the missing
                share of its epochs; `weight`, the missing share of its full weight.
            reason: Why it failed or was stopped, one line.
        """
        if values is not None and not all(math.isfinite(values.get(name, math.nan)) for name in self.objectives):
            outcome, reason, values = "failed", f"an objective is not finite: {dict(values)}", None
        ended = {
            "outcome": outcome,
            "epochs": epochs,
            "reason": reason,
            "values": None if values is None else {name: values[name] for name in self.objectives},
            "infeasible": dict(infeasible or {}),
            "ended": now(),
        }
        trial = self._running.pop(number)
        self._tally_of(trial.user_attrs).running -= 1
        if _is_extra(trial.user_attrs):
            ended["infeasible"] = {**ended["infeasible"], "extra": 1.0}
        for name, value in ended.items():
            if name != "outcome":
                trial.set_user_attr(name, value)
        trial.set_user_attr("outcome", outcome)  # last: with it the record is whole, see next()
        self._tell(trial, ended)

    def _tell(self, trial: optuna.trial.Trial, ended: Mapping[str, Any]) -> None:
        values = ended["values"]
        if values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            for name, missing in ended["infeasible"].items():
                if missing > 0 and name not in trial.constraints:  # set where an earlier driver was killed just here
                    trial.set_constraint(name, missing)
            self._study.tell(trial, [values[name] for name in self.objectives])
        self._tally_of(trial.user_attrs).add(ended["outcome"], values)
        self._write_outcome(trial.number, ended)
        if not _is_extra(trial.user_attrs):
            line = self._advance(trial.number, ended)
            self._keep_reference()
            self._progress.append(line)
            with open(progress_path(self.directory), "a") as file:
                file.write(line)

    def _write_trial(self, number: int, attributes: Mapping[str, Any], created: str) -> None:
        directory = trial_path(self.directory, number)
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / TRIAL).exists():
            described = {name: attributes.get(name) for name in ("params", "replicate_of", "retrain_of")}
            origin = attributes.get("origin", "search")
            write_json(directory / TRIAL, {"number": number, "origin": origin, **described, "created": created})

    def _write_outcome(self, number: int, ended: Mapping[str, Any]) -> None:
        names = ("outcome", "reason", "values", "epochs", "ended")
        write_json(trial_path(self.directory, number) / OUTCOME, {name: ended[name] for name in names})

    def record_rung(self, number: int, epoch: int, values: Sequence[float], goes_on: bool) -> None:
        """Writes down that a running trial came to a rung, and what was decided, before anything acts upon it."""
        result = {"order": self._rung_results, "values": list(values), "goes_on": goes_on}
        self._running[number].set_user_attr(f"{_RUNG}{epoch}", result)
        self._rung_results += 1

    def rung_results(self) -> list[RungResult]:
        """All results at rungs, in the order in which they came."""
        found: list[tuple[int, RungResult]] = []
        for trial in self.trials():
            for key, record in trial.user_attrs.items():
                if key.startswith(_RUNG):
                    epoch = int(key.removeprefix(_RUNG))
                    result = RungResult(trial.number, epoch, record["values"], record["goes_on"])
                    found.append((record["order"], result))
        return [result for _, result in sorted(found)]

    def _replay_progress(self, searched: Sequence[FrozenTrial]) -> None:
        """Rebuilds hypervolume and progress from the trials that have ended, in the order in which they did."""
        reference = self._study.user_attrs.get(_REFERENCE_POINT)
        self._volume, self._reference_kept = FrontVolume(self.directions, reference), reference is not None
        self._stale = self._spent = 0
        ended = [trial for trial in searched if trial.state.is_finished()]
        ended.sort(key=lambda trial: (trial.datetime_complete or datetime.min, trial.number))
        self._progress = [self._advance(trial.number, trial.user_attrs) for trial in ended]
        self._keep_reference()

    def _keep_reference(self) -> None:
        """Writes the reference point down once it is settled: the study has it for ever."""
        if self.hypervolume_reference is not None and not self._reference_kept:
            self._study.set_user_attr(_REFERENCE_POINT, self.hypervolume_reference)
            self._reference_kept = True

    def _advance(self, number: int, ended: Mapping[str, Any]) -> str:
        """Counts a trial that ended into the hypervolume; gives its line of `progress.jsonl`."""
        values = ended["values"]
        missing = ended["infeasible"].values()
        comparable = ended["outcome"] == "completed" and not any(share > 0 for share in missing)
        grew = values is not None and self._volume.add(values, comparable)
        self._stale = 0 if grew or self._volume.value is None else self._stale + 1
        self._spent += ended["epochs"]
        line = {
            "number": number,
            "outcome": ended["outcome"],
            "epochs": self._spent,
            "hypervolume": self._volume.value,
            "stale": self._stale,
            "time": datetime.fromisoformat(ended["ended"]).timestamp(),
        }
        return json.dumps(line) + "\n"

    def reconcile(self) -> None:
        """Writes what an earlier driver recorded in the ledger but did not live to write: trials' files, progress."""
        path = progress_path(self.directory)
        content = "".join(self._progress).encode()
        if content and (not path.exists() or path.read_bytes() != content):
            write_atomic(path, content)
        for trial in self.trials():
            if trial.datetime_start is not None and "params" in trial.user_attrs:
                begun = trial.datetime_start.astimezone(UTC).isoformat(timespec="milliseconds")
                self._write_trial(trial.number, trial.user_attrs, begun)
            is_told = trial.state.is_finished() and "outcome" in trial.user_attrs
            if is_told and not (trial_path(self.directory, trial.number) / OUTCOME).exists():
                self._write_outcome(trial.number, trial.user_attrs)

    def _tally_of(self, attributes: Mapping[str, Any]) -> Tally:
        return self.extra_tally if _is_extra(attributes) else self.tally

    def _assign(self, trial: optuna.trial.Trial) -> Assignment:
        attributes = trial.user_attrs
        origin = attributes.get("origin", "search")
        if "params" in attributes:
            config = TrialConfig.from_params(attributes["params"])
        else:
            overrides = attributes.get("overrides")
            if overrides is None:
                overrides = self._space.suggest(trial, self._data)
            config = self._space.config(self._data, overrides, self._fixed)
            trial.set_user_attr("params", config.to_params())
        self._write_trial(trial.number, {**attributes, "params": config.to_params()}, now())
        self._running[trial.number] = trial
        self._tally_of(attributes).running += 1
        return Assignment(trial.number, origin, config)


def _is_extra(attributes: Mapping[str, Any]) -> bool:
    return attributes.get("origin") in EXTRA_ORIGINS
