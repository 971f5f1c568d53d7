"""One session of a study: opens or creates it, runs its trials, keeps MLflow beside it and shows the answer."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable

from rich.console import Console

from analysis.reporting import ending as answer
from study.cli import DONE, FAILED, INTERRUPTED
from study.config import TrialConfig, UserError
from study.disk import study_json as study_record
from study.disk.files import disk_error_reason
from study.disk.lock import driving
from study.results.choice import choose
from study.results.frame import load_study
from study.search.ledger import Ledger
from study.search.storage import lost_database
from study.session.plan import Plan
from study.session.progress import StudyProgress
from study.tracking import Mirror, default_tracking_uri
from study.tracking.store import check_server, check_uri
from study.tuning.cluster import Cluster
from study.tuning.execute import execute, prepare
from study.tuning.interrupts import Interrupts
from study.tuning.preflight import check_nodes
from study.tuning.scheduler import RungScheduler
from study.tuning.searcher import LedgerSearcher

MIRROR_SECONDS = 60
"""How long the end of a study waits for MLflow."""
_RESUME = "make room or give permission, then add --resume; nothing is lost"
INTERRUPTED_MIRROR_SECONDS = 15
"""The same for one that was interrupted: batch systems kill what does not end soon after SIGTERM."""


def run_study(
    plan: Plan,
    console: Console,
    cluster: Cluster,
    *,
    tracking_uri: str | None = None,
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
        cluster: Where trials run, and what each gets; it is joined where there is something to train.
        tracking_uri: MLflow's address; by default the local store beside the studies.
        max_failures: Retries of a trial whose process died.
        time_budget: Seconds after which no trial begins.
        patience: No trial of the search begins when the front has not grown for so many.
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
    with Interrupts() as interrupts, driving(request.directory, deadline):
        record["outcome"] = "running"  # of a study taken up again it is still how the last session ended
        study_record.write_study(request.directory, record)
        mirror = Mirror(request.directory, uri)
        mirror.start()
        outcome, searcher = "interrupted", None
        try:
            ledger = plan.open_ledger()
            ledger.reconcile()
            num_trials = record["num_trials"] if search else 0
            if ledger.tally.done < num_trials or ledger.unfinished or enqueue_extra:
                cluster.join()
                check_nodes(request.directory)
                cache = request.runs / "cache"
                context = prepare(plan.data, _kinds(ledger, record["num_trials"]), cache, cluster)
                record["references"] = context.summary()
                study_record.write_study(request.directory, record)
                searcher = LedgerSearcher(
                    ledger,
                    num_trials,
                    deadline=deadline,
                    patience=patience,
                    interrupts=interrupts,
                    resources=cluster.resources,
                )
                run = functools.partial(
                    execute,
                    searcher,
                    RungScheduler(ledger, searcher, plan.eta),
                    plan.data,
                    context,
                    cache,
                    resources=cluster.resources,
                    max_failures=max_failures,
                )
                with (
                    StudyProgress(ledger.tally, record["num_trials"], console, deadline=deadline) as progress,
                    interrupts.deferred(),
                ):
                    run(refresh=_announcing(progress, interrupts), say=progress.say)
                over = searcher.finishing or searcher.limit == "--time-budget"
                if enqueue_extra and not ledger.unfinished and not over:
                    enqueue_extra(ledger)
                    extra = ledger.extra_tally.done + ledger.unfinished
                    with (
                        StudyProgress(
                            ledger.extra_tally, extra, console, "trials beyond the search", deadline=deadline
                        ) as progress,
                        interrupts.deferred(),
                    ):
                        run(refresh=_announcing(progress, interrupts), say=progress.say)
            record["hypervolume_reference"] = ledger.hypervolume_reference
            outcome = _outcome(ledger, num_trials, interrupts, searcher)
        except UserError:
            raise
        except Exception as error:
            if (why := disk_error_reason(error)) is not None:
                raise UserError(f"{request.directory}: {why}: {_RESUME}") from error
            if (why := lost_database(error)) is not None:
                raise UserError(
                    f"the ledger's database: {why}: see to it, then add --resume; nothing is lost"
                ) from error
            raise
        finally:
            # What cannot be written now, on a full disk say, is made up for when the study is taken up again.
            with contextlib.suppress(OSError):
                study_record.write_study(request.directory, {**record, "outcome": outcome})
            try:
                cluster.leave()
                frames = load_study(request.runs, request.name)
                try:
                    answer.draw(frames, request.directory)
                except (OSError, UserError) as error:
                    console.print(f"picture  not drawn: {error}", soft_wrap=True, highlight=False, markup=False)
                if outcome != "interrupted":
                    answer.report(console, frames, request.directory, None if mirror.failure else uri)
            finally:
                try:
                    cluster.wait()  # MLflow gets what trials wrote up to their end
                finally:
                    mirrored = _close(mirror, outcome)
    answer.show(console, frames, request.directory)
    answer.show_failures(console, frames, request.directory)
    answer.show_warnings(console, request.directory)
    answer.show_gpu_memory(console, frames)
    if searcher is not None and searcher.all_failed:
        console.print("no trial succeeded: put right what the first one says, then add --resume", highlight=False)
    if searcher is not None and outcome == "stopped":
        console.print(f"ended by {searcher.limit} before its last trial: --resume goes on", highlight=False)
    if mirrored:
        console.print(f"MLflow   {mirror.location()}", soft_wrap=True, highlight=False)
    else:
        console.print(
            f"MLflow   not complete ({mirror.failure or 'it took too long'}); when it answers: "
            f"python -m study.sync --study {request.name} --runs-dir {request.runs}",
            soft_wrap=True,
            highlight=False,
        )
    if searcher is not None and searcher.disk_error:
        raise UserError(f"{searcher.disk_error}: {_RESUME}")
    return {"completed": DONE, "stopped": DONE, "failed": FAILED, "interrupted": INTERRUPTED}[outcome]


def _outcome(ledger: Ledger, num_trials: int, interrupts: Interrupts, searcher: LedgerSearcher | None) -> str:
    """How a session ended: `completed`, `stopped` by a limit that was asked for, `failed` or `interrupted`."""
    whole = ledger.tally.done >= num_trials and not ledger.unfinished
    limited = searcher is not None and searcher.limit is not None and not searcher.finishing
    if not whole and (interrupts.finishing or (ledger.unfinished and not limited)):
        return "interrupted"
    if not ledger.tally.completed:
        return "failed"
    return "completed" if whole or not limited else "stopped"


def _close(mirror: Mirror, outcome: str) -> bool:
    """Whether MLflow holds everything; who waits no longer for it is told what to do, as where it took too long."""
    try:
        return mirror.close(INTERRUPTED_MIRROR_SECONDS if outcome == "interrupted" else MIRROR_SECONDS, outcome)
    except KeyboardInterrupt:
        return False


def _announcing(progress: StudyProgress, interrupts: Interrupts) -> Callable[[], None]:
    """Shows progress, and once what a signal has asked for."""

    def refresh() -> None:
        if interrupts.announcement:
            progress.say(interrupts.announcement)
        progress.refresh()

    return refresh


def _kinds(ledger: Ledger, num_trials: int) -> list[TrialConfig]:
    """One config of every kind given beforehand that needs something ready-made, to make it before the first trial.

    A kind that the sampler alone comes upon is made by the first trial of it.
    """
    kinds: dict[tuple[bool, bool], TrialConfig] = {}
    for config in itertools.islice(ledger.fixed_configs(), num_trials):
        kinds.setdefault((config.network == "stacked", config.perceptual_weight > 0), config)
    return [config for needs, config in kinds.items() if any(needs)]


def replicate_front(plan: Plan, replicates: int, ledger: Ledger) -> None:
    """Enqueues every Pareto-optimal configuration with so many seeds that the search has not used, the same for all."""
    frames = load_study(plan.request.runs, plan.request.name)
    first = 1 + int(frames.column("seed")[frames.text("origin") != "replicate"].max())
    seeds = range(first, first + replicates)
    numbers = frames.trials["number"].iloc[choose(frames).front]
    for number in numbers:
        ledger.replicate(int(number), seeds)
