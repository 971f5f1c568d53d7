"""One session of a study: opens or resumes it, trains its trials, concludes, and keeps MLflow up to date meanwhile."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console

from study.changes import Change
from study.cli import DONE, FAILED, INTERRUPTED
from study.config import UserError
from study.data.kept_folder import keep
from study.disk import study_json
from study.disk.code import carry, code_for_trials
from study.disk.layout import cache_path
from study.disk.lock import driving
from study.measure.own_metrics import real_data_baselines
from study.search.ledger import Ledger, Tally
from study.search.storage import public_url
from study.session.announcing import announcing, begun_with
from study.session.explained import RESUME, explained_errors
from study.session.feature_networks import places
from study.session.forecast import at_start
from study.session.plan import Plan
from study.session.pretrained import kinds
from study.session.progress import StudyProgress
from study.session.resuming import begin_anew, check_same_instrument, recorded_instrument
from study.tracking import Mirror, default_tracking_uri
from study.tracking.store import check_server, check_uri, sync_command
from study.tuning.cluster import Cluster
from study.tuning.execute import execute, wait_while_paused
from study.tuning.interrupts import Interrupts
from study.tuning.preflight import check_nodes
from study.tuning.preparing import prepare
from study.tuning.scheduler import RungScheduler
from study.tuning.searcher import LedgerSearcher

MIRROR_SECONDS = 60
"""How long the end of a study waits for MLflow."""
INTERRUPTED_MIRROR_SECONDS = 15
"""The same after an interrupt: batch systems kill what does not end soon after SIGTERM."""

LOCAL_LOCKS = (
    "node {} does not see the locks that this one sets on files of the study's folder: start no other driver and no "
    "`study control` elsewhere, or keep the ledger on PostgreSQL (--storage)"
)

Draw = Callable[[str, str | None], None]
"""Draws what a study found, given its outcome and the MLflow store that links may lead to."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """When a session stops before the study's last trial.

    Attributes:
        time_budget: Seconds after which no trial begins.
        patience: No trial of the search begins when the front has not grown for so many.
        max_failures: Retries of a trial whose process died.
    """

    time_budget: float | None = None
    patience: int | None = None
    max_failures: int = 2


@dataclasses.dataclass(frozen=True)
class SessionResult:
    """How a session ended.

    Attributes:
        outcome: `completed`, `stopped` by a limit that was asked for, `failed` or `interrupted`.
        notes: Lines for the user.
        disk_error: Why the disk stopped it; None if it did not.
    """

    outcome: str
    notes: tuple[str, ...]
    disk_error: str | None

    def tell(self, console: Console) -> int:
        """Prints the notes; returns the exit status of the command.

        Raises:
            UserError: The disk stopped the session.
        """
        for note in self.notes:
            console.print(note, soft_wrap=True, highlight=False, markup=False)
        if self.disk_error:
            raise UserError(f"{self.disk_error}: {RESUME}")
        return {"completed": DONE, "stopped": DONE, "failed": FAILED, "interrupted": INTERRUPTED}[self.outcome]


def run_study(
    plan: Plan,
    console: Console,
    cluster: Cluster,
    *,
    draw: Draw,
    tracking_uri: str | None = None,
    limits: Limits = Limits(),  # frozen
    search: bool = True,
    enqueue_extra: Callable[[Ledger], None] | None = None,
) -> SessionResult:
    """Runs the plan's trials.

    Args:
        plan: What to run.
        console: Where a person watches.
        cluster: Where trials run. It is joined if there is something to train, and left before `draw` is called.
        draw: Called once, at the end, while MLflow is still being written.
        tracking_uri: MLflow's address; by default the local store beside the studies.
        limits: When to stop early.
        search: Go on to the study's number of trials; otherwise only trials that have begun are finished.
        enqueue_extra: Enqueues trials beyond the search; called once all other trials have ended.

    Raises:
        UserError: The study cannot be run; the message says what to do.
    """
    uri = tracking_uri or default_tracking_uri(plan.request.runs)
    check_uri(uri)
    check_server(uri)
    deadline = None if limits.time_budget is None else time.time() + limits.time_budget
    with Interrupts() as interrupts, driving(plan.request.directory, deadline):
        if plan.replaces:
            console.print(begin_anew(plan.request.directory), soft_wrap=True, highlight=False, markup=False)
        session = _Session(plan, console, cluster, uri, limits, deadline, interrupts)
        session.open()
        try:
            with explained_errors(plan.request.directory):
                session.train(search, enqueue_extra)
        finally:
            session.conclude(draw)
    return session.result()


@dataclasses.dataclass
class _Session:
    """What the parts of a session share."""

    plan: Plan
    console: Console
    cluster: Cluster
    uri: str
    limits: Limits
    deadline: float | None
    interrupts: Interrupts
    ledger: Ledger | None = None
    searcher: LedgerSearcher | None = None
    outcome: str = "interrupted"  # until training has come to its end
    mirrored: bool = False

    def __post_init__(self) -> None:
        self.record = self.plan.record
        self.directory = self.plan.request.directory
        self.mirror = Mirror(self.directory, self.uri)

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def open(self) -> None:
        """Marks the study as running, and starts to keep MLflow like it."""
        carry(self.plan.request.loaded, self.directory)
        self._write(outcome="running")
        self.mirror.start()

    def train(self, search: bool, enqueue_extra: Callable[[Ledger], None] | None) -> None:
        """Trains what is missing of the search, then the trials beyond it."""
        self.ledger = ledger = self.plan.open_ledger()
        ledger.reconcile()
        self._keep(ledger.control.changes)
        if self.plan.request.storage is not None:  # it may have moved to another server
            self.record = self.record.replace(storage=public_url(self.plan.request.storage))
        wanted = self.record.num_trials if search else 0
        if ledger.tally.done < wanted or ledger.unfinished or enqueue_extra:
            self.searcher = searcher = LedgerSearcher(
                ledger, wanted, deadline=self.deadline, patience=self.limits.patience, interrupts=self.interrupts
            )
            if self._begins(searcher, ledger) or (enqueue_extra and not searcher.ends_early):
                run = self._prepare(searcher, ledger, ledger.tally.done if search else self.record.num_trials)
                run(ledger.tally, self.record.num_trials, "trials")
                if enqueue_extra and not ledger.unfinished and not searcher.ends_early:
                    enqueue_extra(ledger)
                    extra = ledger.extra_tally
                    run(extra, extra.done + ledger.unfinished, "trials beyond the search")
        self.record = self.record.replace(hypervolume_reference=ledger.hypervolume_reference)
        self.outcome = self._outcome(ledger, wanted)

    def _begins(self, searcher: LedgerSearcher, ledger: Ledger) -> bool:
        """Says what is in force, and waits while the study is paused; whether there is something to do then."""
        for line in begun_with(searcher.changed):
            self._say(line)
        if not searcher.changed.paused:
            return True
        with self._shown(searcher, ledger.tally, self.record.num_trials, "trials") as (refresh, _):
            return wait_while_paused(searcher, refresh)

    @contextlib.contextmanager
    def _shown(
        self, searcher: LedgerSearcher, tally: Tally, count: int, noun: str
    ) -> Iterator[tuple[Callable[[], None], Callable[[str], None]]]:
        """Shows progress and defers signals in the block; gives what is to be called again and again, and `say`."""
        shown = StudyProgress(tally, count, self.directory, self.console, noun, deadline=self.deadline)
        with shown as progress, self.interrupts.deferred():
            yield announcing(progress, self.interrupts, searcher, self._keep), progress.say

    def _prepare(self, searcher: LedgerSearcher, ledger: Ledger, done: int) -> Callable[[Tally, int, str], None]:
        """Joins the cluster and computes what trials share; returns what runs the trials. `done` need no training."""
        plan, cluster = self.plan, self.cluster
        cluster.join()
        unlocked = check_nodes(self.directory)
        if unlocked and (self.plan.request.storage or self.record.storage) is None:
            self._say(f"note: {LOCAL_LOCKS.format(unlocked[0])}")
        cache, where = cache_path(plan.request.runs), places(plan.request.loaded, self.directory)
        keep(plan.data)
        resources = at_start(plan, cluster, done, self._say)
        self.console.print("preparing what all trials share: feature networks, scores of real images", highlight=False)
        context = prepare(
            plan.data, kinds(ledger, self.record.num_trials), cache, cluster, recorded_instrument(self.record), where
        )
        check_same_instrument(self.record, context.summary())
        evaluation = context.summary()
        own = real_data_baselines(plan.request.loaded.space.own.of_kind("metric"), plan.data, context)
        baselines = {split: found | own[split] for split, found in evaluation["real_data"].items()}
        self._write(evaluation={**evaluation, "real_data": baselines, "notes": [*plan.data.notes, *context.notes]})
        for note in context.notes:
            self._say(f"note: {note}")
        execute_trials = functools.partial(
            execute,
            searcher,
            RungScheduler(ledger, searcher, plan.eta, self.record.is_blind),
            plan.data,
            context,
            cache,
            resources=resources,
            max_failures=self.limits.max_failures,
            code=code_for_trials(self.record, self.directory),
        )

        def run(tally: Tally, count: int, noun: str) -> None:
            with self._shown(searcher, tally, count, noun) as (refresh, say):
                execute_trials(refresh=refresh, say=say)

        return run

    def _keep(self, changes: Sequence[Change]) -> None:
        """Writes down what was changed by hand, for those who read the study's folder alone."""
        if tuple(changes) != self.record.changes:
            with contextlib.suppress(OSError):  # as in conclude; the next call tries again
                self._write(changes=tuple(changes))

    def _keep_newest(self) -> None:
        """The same with what is changed while the session ends, which counts when the study is resumed."""
        with contextlib.suppress(Exception):  # a ledger that cannot be read has been told of, or will be
            if self.ledger is not None:
                self._keep(self.ledger.control.read())

    def conclude(self, draw: Draw) -> None:
        """Writes the outcome down, leaves the cluster, draws, and waits for MLflow."""
        self._keep_newest()
        with contextlib.suppress(OSError):  # on a full disk; resuming makes up for it
            self._write(outcome=self.outcome)
        try:
            self.cluster.leave()
            draw(self.outcome, None if self.mirror.failure else self.uri)
        finally:
            try:
                self.cluster.wait()  # trials write until their end, and MLflow gets it all
            finally:
                self._keep_newest()
                self.mirrored = _close(self.mirror, self.outcome)
                self._keep_newest()

    def result(self) -> SessionResult:
        """What there is to tell after the session."""
        notes, searcher = [], self.searcher
        if searcher is not None and searcher.all_failed:
            notes.append(
                "no trial succeeded, and failed trials are not trained again: fix the first error above; if that "
                "changes the space's file, --resume begins the study anew, else choose another --study"
            )
        if searcher is not None and self.outcome == "stopped":
            notes.append(f"ended by {searcher.limit} before its last trial: add --resume to continue")
        if self.mirrored:
            notes.append(f"MLflow   {self.mirror.location()}")
        else:
            request = self.plan.request
            notes.append(
                f"MLflow   not complete ({self.mirror.failure or 'it took too long'}); when it answers: "
                f"{sync_command(request.runs, self.uri, request.name)}"
            )
        return SessionResult(self.outcome, tuple(notes), None if searcher is None else searcher.disk_error)

    def _outcome(self, ledger: Ledger, wanted: int) -> str:
        searcher = self.searcher
        whole = ledger.tally.done >= wanted and not ledger.unfinished
        limited = searcher is not None and searcher.limit is not None and not searcher.finishing
        if not whole and (self.interrupts.finishing or (ledger.unfinished and not limited)):
            return "interrupted"
        if not ledger.tally.completed and not (limited and ledger.unfinished):  # cut off by a pause
            return "failed"
        return "completed" if whole or not limited else "stopped"

    def _write(self, **changes: object) -> None:
        record = self.record.replace(**changes)
        study_json.write_study(self.directory, record)
        self.record = record


def _close(mirror: Mirror, outcome: str) -> bool:
    """Whether MLflow holds everything. Ctrl-C ends the wait."""
    try:
        return mirror.close(INTERRUPTED_MIRROR_SECONDS if outcome == "interrupted" else MIRROR_SECONDS, outcome)
    except KeyboardInterrupt:
        return False
