"""What a Slurm job writes down when a session begins and ends, and whether another one is to follow.

The batch script calls `python -m study.batch.session begin STUDY` and `... end STUDY --status N ...`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.batch.queue import cancel_waiting
from study.disk.following import Followed
from study.disk.layout import slurm_path
from study.disk.lock import HEARTBEAT_SECONDS, SILENT_SECONDS, living_driver, undriven
from study.disk.slurm_job import SlurmSession, append_session, read_job, read_sessions
from study.disk.study_json import read_study
from study.disk.timestamp import now

NOTHING_TO_DO = 3
"""The exit status of `begin` when no session is to run."""
USELESS_SESSIONS = 2
"""So many sessions in a row without a new epoch end the job, of those that have ended in order."""
CUT_OFF_SESSIONS = 5
"""The same with those that were preempted or killed."""
_LOCK_SECONDS = SILENT_SECONDS + HEARTBEAT_SECONDS
_USELESS = "{} sessions in a row trained no new epoch: look at their logs in {}, mend what they say, and submit again"


def epochs_of(study: Path) -> int:
    """The epochs that the trials of a study have trained. One that was trained again after a crash counts once."""
    followed = Followed(study)
    followed.read()
    return sum(max(trial.epochs, default=0) for trial in followed.trials.values())


def begin(study: Path, environment: Mapping[str, str], patience: float = _LOCK_SECONDS) -> str | None:
    """Writes down that a session begins, once no other driver is at work.

    Args:
        study: The study's folder.
        environment: As `os.environ` in the job.
        patience: Seconds to wait for a driver that may have died on another node.

    Returns:
        Why no session is to run; None if one is.
    """
    place = _place(environment)
    _wait_until_free(study, patience)
    earlier = [session for session in read_sessions(study, place["job"]) if not _is(session, place)]
    if over := next((session.over for session in earlier if session.over), None):
        return over
    epochs = epochs_of(study)
    if over := _why_useless(study, earlier, epochs):
        append_session(study, {**place, "begun": now(), "epochs": epochs, "ended": now(), "over": over})
        return over
    nodes = environment.get("SLURM_JOB_NODELIST", "")
    append_session(study, {**place, "begun": now(), "epochs": epochs, "host": socket.gethostname(), "nodes": nodes})
    return None


def end(study: Path, environment: Mapping[str, str], *, status: int, deadline: float, asked: bool) -> str | None:
    """Writes down that a session has ended, and takes the waiting ones from the queue if none is to follow.

    Args:
        study: The study's folder.
        environment: As `os.environ` in the job.
        status: The driver's exit status.
        deadline: When its time was up, Unix seconds.
        asked: Whether it was asked to end.

    Returns:
        Why no session follows; None if one does.
    """
    place = _place(environment)
    append_session(study, {**place, "ended": now()})
    over = _why_over(study, place, status=status, in_time=not asked and time.time() < deadline)
    if over is not None:
        append_session(study, {**place, "over": over})
        cancel_waiting(place["job"])
    return over


def _why_over(study: Path, place: Mapping[str, int], *, status: int, in_time: bool) -> str | None:
    record = read_study(study)
    outcome = None if record is None else record.outcome
    if status == 0 and outcome == "completed":
        return "the study is complete"
    if status in (0, 1) and in_time and outcome in ("stopped", "failed"):
        return f"the study has {outcome}, and nothing is left to train"
    if useless := _why_useless(study, read_sessions(study, place["job"]), epochs_of(study)):
        return useless
    job = read_job(study)
    if job is not None and job.job == place["job"] and place["task"] >= job.sessions:
        return f"this was the last of {job.sessions} sessions, and the study is not complete: submit again"
    return None


def _why_useless(study: Path, sessions: Sequence[SlurmSession], epochs: int) -> str | None:
    """Says so if the last sessions have brought nothing."""
    last = list(itertools.takewhile(lambda session: session.epochs == epochs, reversed(sessions)))
    ended = sum(session.ended is not None for session in last)
    useless = ended >= USELESS_SESSIONS or len(last) >= CUT_OFF_SESSIONS
    return _USELESS.format(len(last), slurm_path(study)) if useless else None


def _place(environment: Mapping[str, str]) -> dict[str, int]:
    """What tells a session from others."""
    return {
        "job": int(environment.get("SLURM_ARRAY_JOB_ID") or environment["SLURM_JOB_ID"]),
        "task": int(environment.get("SLURM_ARRAY_TASK_ID") or 1),  # the only session is no task of an array
        "restart": int(environment.get("SLURM_RESTART_COUNT") or 0),
    }


def _is(session: SlurmSession, place: Mapping[str, int]) -> bool:
    return all(getattr(session, name) == value for name, value in place.items())


def _wait_until_free(study: Path, patience: float) -> None:
    """Waits until the study's lock is free. A file server keeps that of a node that died for a minute or two."""
    deadline, told = time.monotonic() + patience, False
    while (driver := living_driver(study, time.time())) is not None:
        with undriven(study) as free:
            if free:  # it has died, and left its mark
                return
        if time.monotonic() > deadline:
            print(f"process {driver.pid} on {driver.host} still runs the study", flush=True)
            return
        if not told:
            print(f"waiting for process {driver.pid} on {driver.host}, which runs the study or has died", flush=True)
        told = True
        time.sleep(min(2.0, patience / 10))


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """The command, see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("moment", choices=("begin", "end"))
    parser.add_argument("study", type=Path)
    parser.add_argument("--status", type=int, default=0)
    parser.add_argument("--deadline", type=float, default=0.0)
    parser.add_argument("--asked", default="")
    given: Any = parser.parse_args(arguments)
    if given.moment == "begin":
        over = begin(given.study, environment)
        if over is not None:
            print(f"nothing to do: {over}", flush=True)
            cancel_waiting(_place(environment)["job"])
        return 0 if over is None else NOTHING_TO_DO
    over = end(given.study, environment, status=given.status, deadline=given.deadline, asked=bool(given.asked))
    print("another session follows" if over is None else f"no session follows: {over}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
