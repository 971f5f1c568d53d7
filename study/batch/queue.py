"""Slurm's own commands: a job is submitted, looked up, and cancelled."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from study.errors import UserError

_SECONDS = 30
"""How long a command may take; on a busy controller they take some."""
_FIELDS = ("%K", "%T", "%L", "%N", "%r", "%S")


class Task(NamedTuple):
    """A line of `squeue`: a task of a job array, or all that wait.

    Attributes:
        tasks: Its number, or the numbers of those that wait, such as `3-20%1`.
        state: Such as RUNNING or PENDING.
        left: Time left, as Slurm writes it.
        nodes: Its nodes, as Slurm abbreviates them; "" while it waits.
        reason: Why it waits.
        begins: When Slurm expects it to begin, or when it has begun; `N/A` if Slurm does not know.
    """

    tasks: str
    state: str
    left: str
    nodes: str
    reason: str
    begins: str


def check_slurm() -> None:
    """Checks that Slurm's commands are there.

    Raises:
        UserError: They are not.
    """
    if missing := [program for program in ("sbatch", "squeue", "scancel") if shutil.which(program) is None]:
        raise UserError(f"{', '.join(missing)}: not on the PATH; run this where jobs are submitted, on a login node")


def submit(script: Path) -> int:
    """Submits a batch script; gives the number of the job.

    Raises:
        UserError: Slurm refuses it.
    """
    answer = _run("sbatch", "--parsable", str(script))
    with contextlib.suppress(ValueError):
        return int(answer.stdout.strip().partition(";")[0])  # JOB or JOB;CLUSTER
    raise UserError(f"sbatch refuses {script}: {_reason(answer)}")


def tasks_of(job: int) -> list[Task] | None:
    """What is left of a job in the queue; None if Slurm cannot be asked here."""
    if shutil.which("squeue") is None:
        return None
    try:
        answer = _run("squeue", "--noheader", f"--jobs={job}", f"--format={'|'.join(_FIELDS)}")
    except UserError:
        return None
    if answer.returncode != 0:
        return [] if "Invalid job id" in answer.stderr else None
    lines = (line.split("|") for line in answer.stdout.splitlines())
    return [Task(*line) for line in lines if len(line) == len(_FIELDS)]


def cancel(job: int) -> None:
    """Ends a job array: the session that runs, in order, and those that wait.

    Raises:
        UserError: Slurm refuses it.
    """
    answer = _run("scancel", str(job))
    if answer.returncode != 0:
        raise UserError(f"scancel {job}: {_reason(answer)}")


def cancel_waiting(job: int) -> None:
    """Takes the sessions that wait from the queue. If Slurm cannot be asked, they find that nothing is to be done."""
    with contextlib.suppress(UserError):
        _run("scancel", "--state=PENDING", str(job))


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} did not answer within {_SECONDS} s: try again later") from None


def _reason(answer: subprocess.CompletedProcess[str]) -> str:
    lines = answer.stderr.strip().splitlines() or [f"status {answer.returncode}"]
    return "; ".join(line.partition("error: ")[2] or line for line in lines)
