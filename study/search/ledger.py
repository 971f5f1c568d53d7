"""The ledger: Optuna's storage is the one truth about which trials exist, what they are and how they ended.

Opening a ledger, adopting the trials that an earlier driver left running and going on to the wanted number of trials
are one operation, for a study that is new, killed, finished or extended. A finished Optuna trial cannot be changed, so
everything is written as user attributes before Optuna is told.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.config import DataSummary, Origin, TrialConfig
from study.disk.layout import OUTCOME, ledger_path, trial_path
from study.disk.timestamp import now
from study.errors import UserError, located_errors
from study.search import extra_trials, trial_record
from study.search.control import Control
from study.search.fixed_trials import fixed_configs, fixed_trials
from study.search.progress import SearchProgress
from study.search.samplers import Factory, SearchedStudy, build_sampler
from study.search.tally import Tally
from study.search.trial_record import Assignment, Ending, RungResult, origin_of
from study.space import SearchSpace

_MOST_REFUSALS = 10
"""If the space refuses so many suggestions in a row, the study ends: the changed ranges leave it too little."""


class Ledger:
    """The trials of one study.

    Args:
        directory: The study's folder.
        space: What is searched.
        data: The data set's summary; spaces take their ranges from it.
        directions: `minimize` or `maximize` by objective, in order; names as recorded (`val/sample_fid`).
        set_values: Trial parameters that the command line sets for all trials.
        seed: The study's seed.
        sampler: One of `study.search.samplers.SAMPLERS`, or one of the user's own.
        storage: A database that studies share; by default the study's own SQLite file.
        name: The study's name in the storage; by default its folder's.
        first_points: Further points to try before the space's own.
        num_trials: Trials the study is to have, if that is known; only the sampler's settings depend on it.

    Attributes:
        directory: The study's folder.
        directions: `minimize` or `maximize` by objective.
        objectives: Their names.
        tally: Counts the trials of the search.
        extra_tally: Counts the trials beyond it.
        control: What was changed since the study began.
    """

    def __init__(
        self,
        directory: Path,
        space: SearchSpace,
        data: DataSummary,
        *,
        directions: Mapping[str, str],
        set_values: Mapping[str, Any],
        seed: int,
        sampler: str | Factory = "tpe",
        storage: optuna.storages.BaseStorage | None = None,
        name: str | None = None,
        first_points: Sequence[Mapping[str, Any]] = (),
        num_trials: int = 100,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.directory = directory
        self.directions = directions
        self.objectives = tuple(directions)
        self.tally = Tally(directions)
        self.extra_tally = Tally(directions, extra=True)
        self._space = space
        self._data = data
        self._set_values = set_values
        self._fixed_trials = fixed_trials(space, data, first_points)
        self._running: dict[int, optuna.trial.Trial] = {}
        self._refusals = 0
        name = name or directory.name
        self._storage = optuna.storages.get_storage(storage or f"sqlite:///{ledger_path(directory)}")
        wanted = [optuna.study.StudyDirection[direction.upper()] for direction in directions.values()]
        optuna.create_study(study_name=name, storage=self._storage, directions=wanted, load_if_exists=True)
        self._study = SearchedStudy(study_name=name, storage=self._storage)
        trials = self.trials()
        build = functools.partial(build_sampler, sampler, seed, num_trials=num_trials)
        self.control = Control(self._study, lambda drawn: build(drawn, hidden=self._study.hidden()))
        self._adoptable = [trial for trial in trials if trial.state == TrialState.RUNNING]
        # Kept as a number: to ask the storage before each trial takes longer the more trials there are.
        self._waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        for trial in trials:
            if trial.state.is_finished() and (ending := Ending.of(trial.user_attrs)):
                self._tally_of(trial.user_attrs).add(ending.outcome, ending.values)
        searched = [trial for trial in trials if not origin_of(trial.user_attrs).is_extra]
        self._rung_results = len(self.rung_results())
        self._progress = SearchProgress(self._study, directions, directory, searched)
        self._created = len(searched)
        self._enqueued = sum("origin" in trial.user_attrs for trial in searched)

    @property
    def unfinished(self) -> int:
        """Trials that exist and have not ended: running, waiting, or cut off with their driver."""
        return sum(not trial.state.is_finished() for trial in self.trials())

    @property
    def hypervolume_reference(self) -> list[float] | None:
        """The point up to which the hypervolume is measured, see `FrontVolume`; None until it is settled."""
        return self._progress.reference

    @property
    def stale_trials(self) -> int:
        """Trials that have ended since the front last grew; 0 until there is a hypervolume."""
        return self._progress.stale

    def trials(self) -> Sequence[FrozenTrial]:
        """All trials, oldest first; not to be changed."""
        return self._study.get_trials(deepcopy=False)

    def fixed_configs(self) -> Iterator[TrialConfig]:
        """What the fixed trials train, in their order; nothing is written."""
        return fixed_configs(self._fixed_trials, self._space, self._data, self._set_values)

    def next(self, num_trials: int, *, begin: bool = True) -> Assignment | None:
        """The next trial to train: one that an earlier driver left running, a fixed trial, or a suggestion.

        If an earlier driver recorded a trial's result but died before it told Optuna, the trial is told now instead of
        trained again.

        Args:
            num_trials: Trials the study is to have.
            begin: Whether it may be a trial that has not begun.

        Returns:
            The trial, with its folder and `trial.json` written; None if there is no other.
        """
        while self._adoptable:
            trial = self._live(self._adoptable.pop(0).number)
            ending = Ending.of(trial.user_attrs)
            if ending is None:
                return self._assign(trial) or self.next(num_trials, begin=begin)
            self._tell(trial, ending)
        if not begin or not self.remain(num_trials):
            return None
        if not self._waiting:
            if self._enqueued < len(self._fixed_trials):
                origin, values = self._fixed_trials[self._enqueued]
                self._enqueued += 1
                if origin == Origin.BASELINE:
                    self._enqueue({}, {"origin": origin, "overrides": dict(values)})
                else:
                    self._enqueue(values, {"origin": origin})
            self._created += 1
        self._waiting = max(0, self._waiting - 1)
        with located_errors(others=False):
            trial = self._study.ask()
        return self._assign(trial) or self.next(num_trials)

    def remain(self, num_trials: int) -> bool:
        """Whether trials remain that have not begun, if the study is to have so many."""
        searching = not self._space.grid or self._enqueued < len(self._fixed_trials)
        return self._waiting > 0 or (searching and self._created < num_trials)

    def requeue_running(self) -> None:
        """Takes back every trial handed out and not recorded: `next` hands it out again."""
        for trial in self._running.values():
            self._tally_of(trial.user_attrs).running -= 1
        # Trials still waiting to be adopted are running in the storage too.
        self._adoptable = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self._running.clear()

    def replicate(self, number: int, seeds: Sequence[int]) -> None:
        """Enqueues a trial's configuration again, once for each seed that it has not been replicated with."""
        for attributes in extra_trials.replicates(self.trials(), number, seeds):
            self._enqueue({}, attributes)

    def retrain(self, number: int, epochs: int) -> None:
        """Enqueues a trial's configuration again for so many epochs, unless that was done before and has not failed."""
        for attributes in extra_trials.retrained(self.trials(), number, epochs):
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
        """Stores how a trial ended, in the ledger and in its `outcome.json`.

        Args:
            number: The trial.
            outcome: `completed`, `stopped` or `failed`.
            epochs: Epochs it trained.
            values: The objectives at its last epoch, by recorded name; None for a failed trial. A trial with values
                that are missing or not finite has failed.
            infeasible: How far it is from comparable, see `Ending`.
            reason: Why it failed or was stopped, one line.
        """
        if values is not None and not all(math.isfinite(values.get(name, math.nan)) for name in self.objectives):
            outcome, reason, values = "failed", f"an objective is not finite: {dict(values)}", None
        trial = self._running.pop(number)
        self._tally_of(trial.user_attrs).running -= 1
        extra = {"extra": 1.0} if origin_of(trial.user_attrs).is_extra else {}
        ending = Ending(
            outcome=outcome,
            reason=reason,
            values=None if values is None else {name: values[name] for name in self.objectives},
            epochs=epochs,
            ended=now(),
            infeasible={**(infeasible or {}), **extra},
        )
        ending.store(trial)
        self._tell(trial, ending)

    def record_rung(self, result: RungResult) -> None:
        """Stores that a running trial came to a rung, and what was decided, before anything acts upon it."""
        trial_record.store_rung(self._running[result.number], self._rung_results, result)
        self._rung_results += 1

    def rung_results(self) -> list[RungResult]:
        """All results at rungs, in the order in which they came."""
        return trial_record.rung_results(self.trials())

    def reconcile(self) -> None:
        """Writes the files that an earlier driver did not live to write: the trials' and the study's progress."""
        self._progress.reconcile()
        for trial in self.trials():
            if trial.datetime_start is not None and "params" in trial.user_attrs:
                begun = trial.datetime_start.astimezone(UTC).isoformat(timespec="milliseconds")
                trial_record.write_trial(self.directory, trial.number, trial.user_attrs, begun)
            ending = Ending.of(trial.user_attrs) if trial.state.is_finished() else None
            if ending and not (trial_path(self.directory, trial.number) / OUTCOME).exists():
                ending.write(self.directory, trial.number)

    def settle(self) -> None:
        """Tells Optuna of the trials that it takes for running and whose end is recorded, in the order they ended."""
        endings = [(ending, trial.number) for trial in self._adoptable if (ending := Ending.of(trial.user_attrs))]
        for ending, number in sorted(endings, key=lambda found: (found[0].ended, found[1])):
            self._tell(self._live(number), ending)
        self._adoptable = [trial for trial in self._adoptable if Ending.of(trial.user_attrs) is None]

    def _enqueue(self, values: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        self._study.enqueue_trial(dict(values), user_attrs=dict(attributes))
        self._waiting += 1

    def _live(self, number: int) -> optuna.trial.Trial:
        """A running trial that can be changed; asked again for its parameters, it gives those it has."""
        study_id = self._storage.get_study_id_from_name(self._study.study_name)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
        return optuna.trial.Trial(self._study, trial_id)

    def _assign(self, trial: optuna.trial.Trial) -> Assignment | None:
        """Hands a trial out; None if the space refuses it within changed ranges: then it has failed."""
        attributes = trial.user_attrs
        if "params" in attributes:
            config = TrialConfig.from_params(attributes["params"], self._space.own)
        else:
            try:
                overrides = attributes.get("overrides")
                if overrides is None:
                    overrides = self._space.suggested(self.control.steered(trial), self._data)
                config = self._space.config(self._data, overrides, self._set_values)
            except UserError as error:
                if self._study.narrowing is None or origin_of(attributes) != Origin.SEARCH:
                    raise
                self._begin(
                    trial, trial_record.unchecked(self._space, self._data, {**trial.params, **self._set_values})
                )
                self.record(trial.number, "failed", epochs=0, reason=f"the search space refuses it: {error}")
                self._refusals += 1
                if self._refusals == _MOST_REFUSALS:
                    raise
                return None
            self._refusals = 0
            trial.set_user_attr("params", config.to_params())
        self._begin(trial, config.to_params())
        return Assignment(trial.number, origin_of(attributes), config)

    def _begin(self, trial: optuna.trial.Trial, params: Mapping[str, Any]) -> None:
        attributes = trial.user_attrs
        trial_record.write_trial(self.directory, trial.number, {**attributes, "params": params}, now())
        self._running[trial.number] = trial
        self._tally_of(attributes).running += 1

    def _tell(self, trial: optuna.trial.Trial, ending: Ending) -> None:
        attributes, values = trial.user_attrs, ending.values
        origin = origin_of(attributes)
        if values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            # Constraints keep the trial off Optuna's own front. An earlier driver may have set some before it died.
            missing = {} if ending.may_join_front(origin) else ending.infeasible
            for name in [name for name, share in missing.items() if share > 0 and name not in trial.constraints]:
                trial.set_constraint(name, missing[name])
            with located_errors(others=False):
                self._study.tell(trial, [values[name] for name in self.objectives])
        self._tally_of(attributes).add(ending.outcome, values)
        ending.write(self.directory, trial.number)
        if not origin.is_extra:
            self._progress.add(trial.number, origin, ending)

    def _tally_of(self, attributes: Mapping[str, Any]) -> Tally:
        return self.extra_tally if origin_of(attributes).is_extra else self.tally
