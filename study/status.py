"""Shows where a study stands: trials by state, the best of each objective, hypervolume and time left.

    python -m study.status --study wae_weight
    python -m study.status --study wae_weight --watch

It works while the study runs and after it ended or died, on any machine that sees its folder, and changes nothing.
With `--watch` it also draws the trade-off and the trials that run, every two seconds until the study ends; in a pipe it
prints what has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from study.batch.shown import job_lines
from study.changes import RESUME, Change, in_force
from study.cli import RunsOption, StudyOption, console, run_command
from study.config import EXTRA_ORIGINS, UserError
from study.disk.files import read_lines
from study.disk.following import Followed
from study.disk.layout import STUDY_NAME, find_study, go_on_command, progress_path, study_path
from study.disk.lock import Driver, living_driver
from study.disk.study_json import StudyRecord, read_study
from study.results.choice import Choice, choose
from study.results.following import last_epochs
from study.results.frame import StudyFrames
from study.session.resuming import resume_command
from study.session.time_left import seconds_left, trained
from study.watching.plot import points
from study.watching.running import Running, running_trials

if TYPE_CHECKING:
    from study.watching.screen import Moment

_STATES = ("completed", "stopped", "failed", "running", "interrupted")
_MOST_RUNNING = 8
"""So many running trials are listed one by one."""


class Status(NamedTuple):
    """A study at one moment, from its folder alone.

    Attributes:
        state: `running`, `paused`, or how it ended: `completed`, `stopped` by a limit before its last trial, `failed`,
            or `interrupted`, which includes a driver that died.
        driver: The process that runs it, "" if there is none.
        wanted: Trials it should have.
        counts: Trials of the search by state, in the order of a trial's life.
        extra: The same for trials beyond the search.
        best: For each objective, the best value among completed trials and the trial's number.
        front: Numbers of the Pareto-optimal trials.
        epochs: Epochs spent by trials that ended.
        hypervolume: Of the front on log objectives; None until the reference point is known.
        stale: Trials that ended since the front last grew.
        running: The trials that are being trained.
        seconds_left: Estimated from this session's epochs and its time budget; None if it cannot be estimated.
        resume: The command that resumes it; "" while it runs.
        changes: What `study control` has changed, a line each with its time.
        pause: The command that ends its pause; "" if it is not paused.
        job: The state of its Slurm job, as lines to print.
        caution: Why no trial of a study that has ended may be recommended, though some have completed; "" otherwise.
    """

    state: str
    driver: str
    wanted: int
    counts: dict[str, int]
    extra: dict[str, int]
    best: dict[str, tuple[float, int]]
    front: list[int]
    epochs: int
    hypervolume: float | None
    stale: int
    running: list[Running]
    seconds_left: float | None
    resume: str
    changes: tuple[str, ...] = ()
    pause: str = ""
    job: tuple[str, ...] = ()
    caution: str = ""


def read_status(runs_dir: Path, name: str, now: float | None = None) -> Status:
    """Reads a study's folder without writing, locking or opening the ledger.

    Raises:
        UserError: There is no such study.
    """
    directory = find_study(Path(runs_dir), name)
    followed = Followed(directory)
    followed.read()
    frames = last_epochs(followed, _record(directory))
    return _status(directory, followed, frames, choose(frames), now)


def _record(directory: Path) -> StudyRecord:
    record = read_study(directory)
    if record is None:  # the folder has gone since it was found
        raise UserError(f"{directory}: the study is gone")
    return record


def _status(
    directory: Path, followed: Followed, frames: StudyFrames, choice: Choice, now: float | None = None
) -> Status:
    now = time.time() if now is None else now
    driver = living_driver(directory, now)
    state = str(frames.study.outcome)
    paused = in_force(frames.study.changes).paused
    if driver is not None:
        state = "paused" if paused else "running"
    elif state == "running":
        state = "interrupted"
    lines = list(read_lines(progress_path(directory)))
    last: dict[str, Any] = lines[-1] if lines else {}
    searched = ~frames.trials["origin"].isin(EXTRA_ORIGINS).to_numpy()
    counts = _counts(frames.keep(searched), state)
    wanted = frames.study.num_trials
    return Status(
        state=state,
        driver="" if driver is None else f"process {driver.pid} on {driver.host}",
        wanted=wanted,
        counts=counts,
        extra=_counts(frames.keep(~searched), state),
        best=_best(frames.keep(choice.eligible)),
        front=[int(number) for number in frames.trials["number"].to_numpy()[choice.front]],
        epochs=int(last.get("epochs", 0)),
        hypervolume=last.get("hypervolume"),
        stale=int(last.get("stale", 0)),
        running=running_trials(followed, frames, now) if state == "running" else [],
        seconds_left=None if driver is None else _seconds_left(driver, frames.study.changes, followed, wanted, now),
        resume="" if driver is not None else resume_command(frames.study, directory.parent),
        changes=tuple(change.line for change in frames.study.changes),
        pause=go_on_command(directory) if paused else "",
        job=tuple(job_lines(directory)),
        caution=choice.caution if choice.front.size and driver is None else "",
    )


def _seconds_left(
    driver: Driver, changes: Sequence[Change], followed: Followed, wanted: int, now: float
) -> float | None:
    """Of the search: nobody has written down how many trials beyond it are still to begin."""
    resumed = [datetime.fromisoformat(change.time).timestamp() for change in changes if change.what == RESUME]
    begun = max([driver.begun, *resumed])
    trials, beyond = (trained(followed.trials.values(), begun, extra=extra) for extra in (False, True))
    if any(not trial.ended for trial in beyond) and sum(trial.ended for trial in trials) >= wanted:
        return None
    return seconds_left(trials, wanted, now, None if driver.deadline is None else driver.deadline - now)


def _counts(frames: StudyFrames, state: str) -> dict[str, int]:
    outcomes = frames.text("outcome").tolist()
    unfinished = "running" if state == "running" else "interrupted"
    outcomes = [unfinished if outcome in ("running", "interrupted") else outcome for outcome in outcomes]
    return {outcome: outcomes.count(outcome) for outcome in _STATES if outcome in outcomes}


def _best(frames: StudyFrames) -> dict[str, tuple[float, int]]:
    best = {}
    for name, direction in frames.objectives.items():
        values = frames.column(name)
        if len(values):
            row = int(values.argmin() if direction == "minimize" else values.argmax())
            best[name] = float(values[row]), int(frames.trials["number"].iloc[row])
    return best


def lines(status: Status, name: str) -> list[str]:
    """What the command prints."""
    words = [f"{count} {state}" for state, count in status.counts.items()]
    ended = sum(count for state, count in status.counts.items() if state not in ("running", "interrupted"))
    result = [
        f"study        {name}: {status.state}" + (f" ({status.driver})" if status.driver else ""),
        f"trials       {ended} of {status.wanted} ended" + (": " + ", ".join(words) if words else ""),
    ]
    if status.extra:
        extra = ", ".join(f"{count} {state}" for state, count in status.extra.items())
        result.append(f"extra        {extra}")
    if status.running:
        shown = [f"{trial.number} ({trial.epochs} of {trial.planned})" for trial in status.running[:_MOST_RUNNING]]
        more = len(status.running) - len(shown)
        result.append("running      epochs of trial " + ", ".join(shown) + (f" and {more} more" if more else ""))
    for metric, (value, number) in status.best.items():
        result.append(f"best         {metric.rpartition('/')[2]} {value:.4g} (trial {number})")
    if status.front:
        result.append(f"front        {len(status.front)} trials: {', '.join(map(str, status.front))}")
    if status.caution:
        result.append(f"caution      {status.caution}")
    if status.hypervolume is not None:
        moved = "grew with the last trial" if not status.stale else f"has not grown for {status.stale} trials"
        result.append(f"hypervolume  {status.hypervolume:.4f}, the front {moved}; {status.epochs} epochs spent")
    if status.seconds_left is not None and status.state == "running":
        minutes, seconds = divmod(int(status.seconds_left), 60)
        result.append(f"time left    about {minutes // 60}:{minutes % 60:02d}:{seconds:02d}")
    elif status.state in ("interrupted", "stopped"):
        result.append(f"to resume    {status.resume}")
    if status.pause:
        result.append(f"paused       {status.pause} goes on")
    return result + [f"change       {line}" for line in status.changes] + [*status.job]


def _reader(runs_dir: Path, name: str) -> Callable[[], Moment]:
    """What looks at a study again and again. Tables are made only when something has changed."""
    from study.watching.screen import Moment  # imports rich

    directory = find_study(Path(runs_dir), name)
    followed = Followed(directory)
    frames, choice, found = None, None, None

    def read() -> Moment:
        nonlocal frames, choice, found
        record = _record(directory)
        if followed.read() or frames is None or choice is None or frames.study != record:
            frames = last_epochs(followed, record)
            choice = choose(frames)
            found = points(frames, choice)
        status = _status(directory, followed, frames, choice)
        shown = lines(status, name)
        return Moment(shown, list(frames.objectives), found, status.running, over=not status.driver)

    return read


def main(
    study: StudyOption,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until the study ends, or Ctrl-C.")] = False,
    runs_dir: RunsOption = Path("runs"),
) -> None:
    """The command, see the module."""
    directory = Path(runs_dir) / study
    if not study_path(directory).is_file() and STUDY_NAME.fullmatch(study) and (waiting := job_lines(directory)):
        print("\n".join([f"study        {study}: submitted, not begun", *waiting]))
        return
    if watch:
        from study.watching.watch import watch as watch_study

        watch_study(_reader(runs_dir, study), console())
        return
    for line in lines(read_status(runs_dir, study), study):
        print(line)


if __name__ == "__main__":
    run_command(main)
