"""Turns a request for a study into a plan: everything is checked before anything is written."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from study.config import UserError
from study.data.datasets import ImageData
from study.disk import study_json
from study.disk.layout import STUDY_NAME, TRIAL, trial_folders
from study.disk.study_json import StudyRecord
from study.measure.instrument import check_name
from study.measure.metrics import METRICS
from study.search import warm_start
from study.search.ledger import Ledger
from study.search.ledger_file import check_ledger_file
from study.search.own_samplers import check_sampler, chosen_sampler, sampler_name
from study.search.rungs import suitable_eta
from study.search.samplers import Factory
from study.search.storage import ledger_study, open_storage, public_url
from study.session.feature_networks import places
from study.session.load_data import load_data
from study.session.resuming import begins_anew, check_resumable, is_moved, kept_options
from study.space import LoadedSpace
from study.tuning.scheduler import SCHEDULERS

DEFAULT_SEED = 0
DEFAULT_SAMPLER = "tpe"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; None for an option that was not given.

    Attributes:
        loaded: The search space and its file.
        name: The study's name.
        runs: The folder of all studies, absolute.
        dataset: As `TrialConfig.dataset`.
        data_dir: Where data sets lie.
        num_trials: Trials of the study, including those of earlier sessions.
        epochs: Epochs of every trial.
        seed: Seed of search and training.
        sampler: One of `SAMPLERS`, `module:Class`, or a class or function that is called with `seed=`.
        scheduler: One of `SCHEDULERS`.
        eta: One trial in eta continues at each rung.
        resume: Resume the study of this name.
        command: The command line without secrets, for the record.
        storage: The database that keeps the ledger; by default the study's own file.
        warm_start: An earlier study whose front is trained first.
        feature_network: What samples are compared in: see `study.measure.instrument`.
        image_size: As of `load_dataset`.
        data: The data set itself, instead of loading the one that `dataset` names.
    """

    loaded: LoadedSpace
    name: str
    runs: Path
    dataset: str
    data_dir: Path | None
    num_trials: int | None
    epochs: int | None
    seed: int | None
    sampler: str | Factory | None
    scheduler: str | None
    eta: float | None
    resume: bool
    command: str
    storage: str | None = None
    warm_start: str | None = None
    feature_network: str | None = None
    image_size: int | None = None
    data: ImageData | None = None

    @property
    def directory(self) -> Path:
        """The study's folder."""
        return self.runs / self.name


@dataclasses.dataclass(frozen=True)
class Plan:
    """A request that passed all checks: no mistake of the user is left in it.

    Attributes:
        request: What the user asked for.
        data: The data set, loaded.
        record: The content of `study.json`, new or existing.
        is_new: The study does not exist yet, or begins anew.
        replaces: A study of this name is there, whose files are to be set aside.
    """

    request: Request
    data: ImageData
    record: StudyRecord
    is_new: bool
    replaces: bool = False

    def __post_init__(self) -> None:
        check_sampler(self.sampler, len(self.record.objectives))

    @property
    def eta(self) -> float | None:
        """One trial in eta continues at each rung; None if no trial stops early."""
        return self.record.eta

    @property
    def sampler(self) -> str | Factory:
        """What suggests trials."""
        loaded = self.request.loaded
        beside = None if loaded.is_builtin else loaded.path.parent
        return chosen_sampler(self.record.sampler, self.request.sampler, loaded.space.sampler, beside=beside)

    def open_ledger(self) -> Ledger:
        """The study's ledger.

        Raises:
            UserError: Its database cannot be used, or holds nothing of this study.
        """
        directory = self.request.directory
        url = self.request.storage or self.record.storage
        if url is None:
            return self._ledger(directory)
        # Two users of a database may give a study the same name.
        storage = open_storage(url, self.request.storage)
        ledger = self._ledger(directory, storage, f"{self.record.name}-{self.record.id}")
        if not ledger.trials() and any((trial / TRIAL).exists() for _, trial in trial_folders(directory)):
            raise UserError(
                f"--storage {public_url(url)} holds no trial of study {self.record.name!r}, its folder does: give "
                "the storage it was begun with"
            )
        return ledger

    def scratch_ledger(self, directory: Path) -> Ledger:
        """An empty ledger in `directory`, gone with this process."""
        return self._ledger(directory, optuna.storages.InMemoryStorage(), self.record.name)

    def _ledger(
        self, directory: Path, storage: optuna.storages.BaseStorage | None = None, name: str | None = None
    ) -> Ledger:
        return Ledger(
            directory,
            self.request.loaded.space,
            self.data.summary,
            directions=self.record.objectives,
            set_values=_set_values(self.record.seed, self.record.epochs),
            seed=self.record.seed,
            sampler=self.sampler,
            storage=storage,
            name=name,
            first_points=() if self.record.warm_start is None else self.record.warm_start.points,
            num_trials=self.record.num_trials,
        )


def make_plan(request: Request) -> Plan:
    """Checks a request and loads the data. Writes nothing.

    Raises:
        UserError: The study exists without `resume`, or cannot be resumed; a name is unknown, or the sampler of no use;
            or the data are missing.
    """
    _check_paths(request)
    _check_writable(request.runs)
    if request.directory.exists() and not request.directory.is_dir():
        raise UserError(f"{request.directory} is a file: choose another --study")
    existing = study_json.read_study(request.directory)
    if existing is not None and not request.resume:
        raise UserError(
            f"study {request.name!r} exists in {request.runs}: add --resume to continue it, or choose another --study"
        )
    replaces = existing is not None and begins_anew(existing, request.loaded, request.directory)
    if existing is not None and replaces:
        kept = kept_options(existing, request.loaded)
        request = dataclasses.replace(request, **{k: v for k, v in kept.items() if getattr(request, k) is None})
        existing = None
    sampler = None if request.sampler is None else sampler_name(request.sampler)
    storage = None if request.storage is None else public_url(request.storage)
    if existing is not None and existing.storage is None and request.storage is None:
        check_ledger_file(request.directory)
    side = existing.image_size if existing and request.dataset.startswith("folder:") else request.image_size
    data = request.data or load_data(request.loaded.space, request.dataset, request.data_dir, side, request.runs)
    names = ("seed", "epochs", "scheduler", "eta", "feature_network", "image_size")
    given = {"sampler": sampler, **{name: getattr(request, name) for name in names}}
    directions = _directions(request.loaded)
    if existing is not None:
        check_resumable(existing, request.loaded, data.summary, directions, given, request.directory)
        warm_start.check_same(existing, request.warm_start, request.loaded.space, data.summary)
        kept = dataclasses.replace(data.summary, defaults=existing.data.defaults)  # this version's may be others
        data = dataclasses.replace(data, summary=kept)
        wanted = max(existing.num_trials, request.num_trials or 0)
        summary = data.summary if is_moved(existing, data.summary) else existing.data
        record = existing.replace(num_trials=wanted, data=summary, data_dir=_data_dir(request) or existing.data_dir)
        return Plan(request, data, record, is_new=False)
    default = request.loaded.space.default_feature_network
    network = default if request.feature_network is None else request.feature_network
    if network is not None:
        check_name(network, data.summary, places(request.loaded))
    settings = {
        "classes": list(data.classes),
        "seed": DEFAULT_SEED if request.seed is None else request.seed,
        "epochs": request.epochs,
        "image_size": request.image_size,
        "sampler": sampler or sampler_name(request.loaded.space.sampler or DEFAULT_SAMPLER),
        "scheduler": _scheduler(request),
        "eta": None,
        "feature_network": network,
        "num_trials": request.num_trials or _default_num_trials(request, data),
        "command": request.command,
        "data_dir": _data_dir(request),
        "storage": storage,
        "warm_start": _warm_start(request, data),
    }
    if settings["scheduler"] == "asha":
        epochs = request.loaded.space.epochs(data.summary, _set_values(settings["seed"], settings["epochs"]))
        counts = settings["num_trials"], epochs, len(request.loaded.space.objectives)
        settings["eta"] = suitable_eta(*counts, request.eta, is_chosen=request.scheduler is not None)
        settings["scheduler"] = "none" if settings["eta"] is None else "asha"
    warm_start.check_first_points(request.loaded.space, data.summary)
    record = study_json.new_study(request.name, request.loaded, data.summary, directions, settings)
    return Plan(request, data, record, is_new=True, replaces=replaces)


def _data_dir(request: Request) -> str | None:
    return None if request.data_dir is None else str(request.data_dir.expanduser().absolute())


def _directions(loaded: LoadedSpace) -> dict[str, str]:
    """`minimize` or `maximize` by objective, as recorded.

    Raises:
        UserError: An objective is not a metric, or has no direction.
    """
    metrics = METRICS | loaded.space.own.of_kind("metric")
    better = [name for name, metric in metrics.items() if metric.direction != "none"]
    for name in loaded.space.objectives:
        if name not in better:
            place = loaded.space.place(f"objectives={name!r}")
            raise UserError(f"{place}objective {name!r}: choose from {', '.join(better)}")
    return {f"val/{name}": metrics[name].direction for name in loaded.space.objectives}


def _set_values(seed: int, epochs: int | None) -> dict[str, Any]:
    """Trial parameters that the command line fixes for all trials."""
    return {"seed": seed} if epochs is None else {"seed": seed, "epochs": epochs}


def _scheduler(request: Request) -> str:
    grid = request.loaded.space.grid
    chosen = request.scheduler or ("none" if grid else "asha")
    if chosen not in SCHEDULERS:
        raise UserError(f"--scheduler {chosen}: choose from {', '.join(SCHEDULERS)}")
    if grid and chosen != "none":
        raise UserError(f"--scheduler {chosen}: a grid trains every point to its end; choose none, or leave it out")
    if request.eta is not None and chosen == "none":
        raise UserError("--eta: no trial stops early with --scheduler none; leave one of the two out")
    return chosen


def _warm_start(request: Request, data: ImageData) -> dict[str, Any] | None:
    """The earlier study and its points, for the record, so that a resumed study need not read it again."""
    if request.warm_start is None:
        return None
    is_name = STUDY_NAME.fullmatch(request.warm_start) is not None
    record = study_json.read_study(request.runs / request.warm_start) if is_name else None
    if record is None:
        raise UserError(f"--warm-start {request.warm_start}: no such study in {request.runs}")
    study = _open_earlier(request, record)
    points = warm_start.first_points(study, list(record.objectives), request.loaded.space, data.summary)
    return {"study": request.warm_start, "id": record.id, "points": points}


def _open_earlier(request: Request, record: StudyRecord) -> optuna.Study:
    """The Optuna study of an existing study.

    Raises:
        UserError: It has no ledger, or its database cannot be used.
    """
    found = ledger_study(request.runs / record.name, record, request.storage)
    if found is None:
        raise UserError(f"study {record.name!r} has no ledger yet: let it train a trial first")
    return found


def _default_num_trials(request: Request, data: ImageData) -> int:
    space = request.loaded.space
    return sum(map(len, space.known_trials(data.summary))) if space.grid else space.num_trials


def _check_paths(request: Request) -> None:
    """Refuses what `study.json` cannot hold: Linux allows names that are not text."""
    paths = {"--dataset": request.dataset, "--data-dir": request.data_dir, "--runs-dir": request.runs}
    for option, path in {**paths, "--space": request.loaded.path}.items():
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise UserError(f"{option} {str(path)!a}: a name in this path is not UTF-8; rename it") from None


def _check_writable(runs: Path) -> None:
    nearest = next(path for path in (runs, *runs.parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"--runs-dir {runs}: {nearest} is a file; choose a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--runs-dir {runs}: no permission to write in {nearest}; choose another folder")


def first_configs(plan: Plan, limit: int) -> list[Mapping[str, Any]]:
    """Parameters of the first trials of a new study. None is trained."""
    with tempfile.TemporaryDirectory() as scratch:
        ledger = plan.scratch_ledger(Path(scratch))
        assignments = iter(lambda: ledger.next(min(limit, plan.record.num_trials)), None)
        return [{"origin": assignment.origin.label, **assignment.config.to_params()} for assignment in assignments]
