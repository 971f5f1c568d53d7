"""One sitting of a study: checks what was asked, opens or creates the study, runs its trials and shows the answer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import optuna
from rich.console import Console

from analysis.choice import choose
from analysis.frame import load_study
from study import answer
from study import record as study_record
from study.cli import DONE, FAILED, INTERRUPTED
from study.config import TrialConfig, UserError
from study.data.datasets import ImageData, load_dataset
from study.files import read_json, refusal, write_json
from study.interrupts import Interrupts
from study.measure.metrics import METRICS
from study.progress import StudyProgress
from study.space import LoadedSpace
from study.tracking import Mirror, default_tracking_uri
from study.tracking.store import check_server, check_uri, redact
from study.tuning.execute import Resources, cluster, execute, prepare
from study.tuning.ledger import SAMPLERS, Ledger
from study.tuning.preflight import check_nodes
from study.tuning.rungs import DEFAULT_ETA, check_settings
from study.tuning.scheduler import SCHEDULERS, RungScheduler
from study.tuning.searcher import LedgerSearcher
from study.tuning.storage import open_storage, public_url

DEFAULT_SEED = 0
DEFAULT_SAMPLER = "tpe"
MIRROR_SECONDS = 60
"""How long the end of a study waits for MLflow."""
_RESUME = "make room or give permission, then add --resume; nothing is lost"
INTERRUPTED_MIRROR_SECONDS = 15
"""The same for one that was interrupted: batch systems kill what does not end soon after SIGTERM."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; None where nothing was said.

    Attributes:
        loaded: The search space and its file.
        name: The study's name.
        runs: The folder of all studies, absolute.
        dataset: As `TrialConfig.dataset`.
        data_dir: Where data sets lie.
        num_trials: Trials of the study, those of earlier sittings included.
        epochs: Epochs of every trial.
        seed: Seed of search and training.
        sampler: One of `SAMPLERS`.
        scheduler: One of `SCHEDULERS`.
        eta: One trial in eta goes on at each rung.
        resume: Go on with a study that exists.
        command: The command line, for the record.
        storage: The database that keeps the ledger; by default the study's own file.
    """

    loaded: LoadedSpace
    name: str
    runs: Path
    dataset: str
    data_dir: Path | None
    num_trials: int | None
    epochs: int | None
    seed: int | None
    sampler: str | None
    scheduler: str | None
    eta: float | None
    resume: bool
    command: str
    storage: str | None = None

    @property
    def directory(self) -> Path:
        """The study's folder."""
        return self.runs / self.name


@dataclasses.dataclass(frozen=True)
class Plan:
    """A request that has been checked: nothing about it can fail for the user's doing any more.

    Attributes:
        request: What was asked.
        data: The data set, loaded.
        record: `study.json`, new or read back.
        is_new: The study does not exist yet.
    """

    request: Request
    data: ImageData
    record: dict[str, Any]
    is_new: bool

    @property
    def eta(self) -> float | None:
        """One trial in eta goes on at each rung; None where none stops early."""
        return self.record.get("eta")

    def open_ledger(self) -> Ledger:
        """The study's ledger.

        Raises:
            UserError: Its database cannot be used, or holds nothing of this study.
        """
        directory = self.request.directory
        url = self.request.storage or self.record.get("storage")
        if url is None:
            return self._ledger(directory)
        # Two users of a database may give a study the same name.
        ledger = self._ledger(directory, open_storage(url), f"{self.record['name']}-{self.record['id']}")
        if not ledger.trials() and any((directory / "trials").glob("*/trial.json")):
            raise UserError(
                f"--storage {public_url(url)} holds no trial of study {self.record['name']!r}, its folder does: give "
                "the storage it was begun with"
            )
        return ledger

    def scratch_ledger(self, directory: Path) -> Ledger:
        """A ledger in `directory` with none of the study's trials."""
        return self._ledger(directory)

    def _ledger(
        self, directory: Path, storage: optuna.storages.BaseStorage | None = None, name: str | None = None
    ) -> Ledger:
        return Ledger(
            directory,
            self.request.loaded.space,
            self.data.summary,
            directions=self.record["objectives"],
            fixed=_fixed(self.record),
            seed=self.record["seed"],
            sampler=self.record["sampler"],
            storage=storage,
            name=name,
        )


def make_plan(request: Request) -> Plan:
    """Checks a request against what lies on the disk, and loads the data. Writes nothing.

    Raises:
        UserError: The study exists and is not to be resumed, or cannot be; a name is unknown; the data are missing.
    """
    if request.sampler is not None and request.sampler not in SAMPLERS:
        raise UserError(f"--sampler {request.sampler}: choose from {', '.join(SAMPLERS)}")
    _check_writable(request.runs)
    existing = study_record.read_study(request.directory)
    if existing is not None and not request.resume:
        raise UserError(
            f"study {request.name!r} exists in {request.runs}: add --resume to go on with it, or choose another --name"
        )
    storage = None if request.storage is None else public_url(request.storage)
    data = load_dataset(request.dataset, request.data_dir)
    given = {
        "seed": request.seed,
        "epochs": request.epochs,
        "sampler": request.sampler,
        "scheduler": request.scheduler,
        "eta": request.eta,
    }
    if existing is not None:
        study_record.check_resumable(existing, request.loaded, data.summary, given)
        existing = {**existing, "storage": existing.get("storage") if storage is None else storage}
        wanted = max(existing["num_trials"], request.num_trials or 0)
        return Plan(request, data, {**existing, "num_trials": wanted}, is_new=False)
    settings = {
        "seed": DEFAULT_SEED if request.seed is None else request.seed,
        "epochs": request.epochs,
        "sampler": request.sampler or DEFAULT_SAMPLER,
        "scheduler": _scheduler(request),
        "eta": None,
        "num_trials": request.num_trials or _default_num_trials(request, data),
        "command": redact(request.command),
        "storage": storage,
    }
    if settings["scheduler"] == "asha":
        settings["eta"] = DEFAULT_ETA if request.eta is None else request.eta
        epochs = int(request.loaded.space.config(data.summary, {}, _fixed(settings)).epochs)
        check_settings(settings["num_trials"], epochs, len(request.loaded.space.objectives), settings["eta"])
    directions = {f"val/{name}": METRICS[name].direction for name in request.loaded.space.objectives}
    record = study_record.new_study(request.name, request.loaded, data.summary, directions, settings)
    return Plan(request, data, record, is_new=True)


def _fixed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Trial parameters that the command line fixes for all trials."""
    return {name: record[name] for name in ("seed", "epochs") if record[name] is not None}


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


def _default_num_trials(request: Request, data: ImageData) -> int:
    space = request.loaded.space
    return (
        len(space.first_points(data.summary)) + len(space.references(data.summary)) if space.grid else space.num_trials
    )


def _check_writable(runs: Path) -> None:
    nearest = next(path for path in (runs, *runs.parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"--runs-dir {runs}: {nearest} is a file; choose a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--runs-dir {runs}: no permission to write in {nearest}; choose another folder")


def first_configs(plan: Plan, limit: int) -> list[Mapping[str, Any]]:
    """Parameters of the first trials that a new study would train, without training any."""
    with tempfile.TemporaryDirectory() as scratch:
        ledger = plan.scratch_ledger(Path(scratch))
        assignments = iter(lambda: ledger.next(min(limit, plan.record["num_trials"])), None)
        return [{"origin": assignment.origin, **assignment.config.to_params()} for assignment in assignments]


@contextlib.contextmanager
def _driving(directory: Path) -> Iterator[None]:
    """Holds the study for this process alone.

    Raises:
        UserError: Another driver holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    owner = directory / "driver.json"
    lock = filelock.FileLock(directory / ".driver.lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        driver = read_json(owner) or {}
        raise UserError(
            f"study {directory.name!r} is being run by process {driver.get('pid', '?')} on {driver.get('host', '?')}: "
            "wait for it, or end it first"
        ) from None
    try:
        write_json(owner, {"host": socket.gethostname(), "pid": os.getpid()})
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def run_study(
    plan: Plan,
    console: Console,
    resources: Resources,
    *,
    tracking_uri: str | None = None,
    address: str | None = None,
    max_failures: int = 2,
    time_budget: float | None = None,
    patience: int | None = None,
    search: bool = True,
    enqueue_extra: Callable[[Ledger], None] | None = None,
) -> int:
    """Runs the plan's trials and shows the answer.

    Args:
        plan: What to run.
        console: Where a person watches.
        resources: What a trial gets.
        tracking_uri: MLflow's address; by default the local store beside the studies.
        address: A running Ray cluster; by default Ray is started on this machine.
        max_failures: Retries of a trial whose process died.
        time_budget: Seconds after which no trial begins.
        patience: No trial of the search begins when the hypervolume has not grown for so many.
        search: Go on to the study's number of trials; otherwise only trials that have begun are finished.
        enqueue_extra: Enqueues trials beyond the search; called once no other trial is left unfinished.

    Returns:
        The exit status of the command.
    """
    request, record = plan.request, plan.record
    deadline = None if time_budget is None else time.time() + time_budget
    uri = tracking_uri or default_tracking_uri(request.runs)
    check_uri(uri)
    check_server(uri)
    with Interrupts() as interrupts, _driving(request.directory):
        study_record.write_study(request.directory, {**record, "outcome": "running"})
        mirror = Mirror(request.directory, uri)
        mirror.start()
        outcome, searcher = "interrupted", None
        try:
            ledger = plan.open_ledger()
            ledger.reconcile()
            num_trials = record["num_trials"] if search else 0
            if ledger.tally.done < num_trials or ledger.unfinished or enqueue_extra:
                with cluster(address, resources) as slots:
                    check_nodes(request.directory)
                    cache = request.runs / "cache"
                    references = prepare(plan.data, _kinds(plan), cache, resources)
                    record["references"] = references.summary()
                    study_record.write_study(request.directory, record)
                    searcher = LedgerSearcher(
                        ledger, num_trials, deadline=deadline, patience=patience, interrupts=interrupts
                    )
                    run = functools.partial(
                        execute,
                        searcher,
                        RungScheduler(ledger, searcher, plan.eta),
                        plan.data,
                        references,
                        cache,
                        resources=resources,
                        slots=slots,
                        max_failures=max_failures,
                    )
                    with StudyProgress(ledger.tally, record["num_trials"], console) as progress, interrupts.deferred():
                        run(refresh=_announcing(progress, interrupts))
                    if enqueue_extra and not ledger.unfinished and not searcher.finishing:
                        enqueue_extra(ledger)
                        extra = ledger.extra_tally.done + ledger.unfinished
                        beyond = StudyProgress(ledger.extra_tally, extra, console, "trials beyond the search")
                        with beyond as progress, interrupts.deferred():
                            run(refresh=_announcing(progress, interrupts))
            if not ledger.unfinished and (not interrupts.finishing or ledger.tally.done >= num_trials):
                outcome = "completed" if ledger.tally.completed else "failed"
        except Exception as error:
            why = refusal(error)
            if why is None:
                raise
            raise UserError(f"{request.directory}: {why}: {_RESUME}") from error
        finally:
            # What cannot be written now, on a full disk say, is made up for when the study is taken up again.
            with contextlib.suppress(OSError):
                study_record.write_study(request.directory, {**record, "outcome": outcome})
            frames = load_study(request.runs, request.name)
            with contextlib.suppress(OSError):
                answer.draw(frames, request.directory)
            mirrored = mirror.close(INTERRUPTED_MIRROR_SECONDS if outcome == "interrupted" else MIRROR_SECONDS, outcome)
    answer.show(console, frames, request.directory)
    answer.show_failures(console, frames, request.directory)
    if searcher is not None and searcher.hopeless:
        console.print("no trial succeeded: put right what the first one says, then add --resume", highlight=False)
    if mirrored:
        console.print(f"MLflow   {mirror.location()}", soft_wrap=True, highlight=False)
    else:
        console.print(
            f"MLflow   not complete ({mirror.failure or 'it took too long'}); when it answers: "
            f"python -m study.sync --study {request.name} --runs-dir {request.runs}",
            soft_wrap=True,
            highlight=False,
        )
    if searcher is not None and searcher.trouble:
        raise UserError(f"{searcher.trouble}: {_RESUME}")
    return {"completed": DONE, "failed": FAILED, "interrupted": INTERRUPTED}[outcome]


def _announcing(progress: StudyProgress, interrupts: Interrupts) -> Callable[[], None]:
    """Shows progress, and once what a signal has asked for."""

    def refresh() -> None:
        if interrupts.announcement:
            progress.say(interrupts.announcement)
        progress.refresh()

    return refresh


def _kinds(plan: Plan) -> list[TrialConfig]:
    """One known config of every kind that needs something ready-made, so that it is made before the first trial."""
    kinds: dict[tuple[bool, bool], TrialConfig] = {}
    for params in first_configs(plan, plan.record["num_trials"]):
        config = TrialConfig.from_params({name: value for name, value in params.items() if name != "origin"})
        kinds.setdefault((config.network == "stacked", config.perceptual_weight > 0), config)
    return [config for needs, config in kinds.items() if any(needs)]


def replicate_front(plan: Plan, replicates: int, ledger: Ledger) -> None:
    """Enqueues every Pareto-optimal configuration with so many fresh seeds, the same ones for all."""
    frames = load_study(plan.request.runs, plan.request.name)
    seeds = range(plan.record["seed"] + 1, plan.record["seed"] + 1 + replicates)
    numbers = frames.trials["number"].iloc[choose(frames).front]
    for number in numbers:
        ledger.replicate(int(number), seeds)
