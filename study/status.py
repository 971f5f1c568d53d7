"""Shows where a study stands: trials by state, the best of each objective, hypervolume and time left.

    python -m study.status --study wae_weight

It works while the study runs and after it ended or died, and changes nothing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from study.changes import in_force
from study.cli import RunsOption, StudyOption, run_command
from study.config import EXTRA_ORIGINS
from study.disk.files import read_lines
from study.disk.layout import go_on_command, progress_path
from study.disk.lock import Driver, living_driver
from study.results.choice import choose
from study.results.frame import StudyFrames, load_study
from study.session.resuming import resume_command
from study.session.time_left import seconds_left

_STATES = ("completed", "stopped", "failed", "running", "interrupted")


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
        seconds_left: Estimated from this session's trials and its time budget; None if it cannot be estimated.
        resume: The command that resumes it.
        changes: What `study control` has changed, a line each with its time.
        pause: The command that ends its pause; "" if it is not paused.
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
    seconds_left: float | None
    resume: str
    changes: tuple[str, ...] = ()
    pause: str = ""


def read_status(runs_dir: Path, name: str, now: float | None = None) -> Status:
    """Reads a study's folder without writing, locking or opening the ledger.

    Raises:
        UserError: There is no such study.
    """
    frames = load_study(runs_dir, name)
    directory = runs_dir / name
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
    missing = max(0, wanted - sum(counts.get(outcome, 0) for outcome in ("completed", "stopped", "failed")))
    choice = choose(frames)
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
        seconds_left=None if driver is None else _seconds_left(driver, [line["time"] for line in lines], missing, now),
        resume=resume_command(frames.study, runs_dir),
        changes=tuple(change.line for change in frames.study.changes),
        pause=go_on_command(directory) if paused else "",
    )


def _seconds_left(driver: Driver, ends: list[float], missing: int, now: float) -> float | None:
    ended = sum(end >= driver.begun for end in ends)
    deadline = None if driver.deadline is None else driver.deadline - now
    return seconds_left(ended, now - driver.begun, missing, deadline)


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
    for metric, (value, number) in status.best.items():
        result.append(f"best         {metric.rpartition('/')[2]} {value:.4g} (trial {number})")
    if status.front:
        result.append(f"front        {len(status.front)} trials: {', '.join(map(str, status.front))}")
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
    return result + [f"change       {line}" for line in status.changes]


def main(study: StudyOption, runs_dir: RunsOption = Path("runs")) -> None:
    """The command, see the module."""
    for line in lines(read_status(runs_dir, study), study):
        print(line)


if __name__ == "__main__":
    run_command(main)
