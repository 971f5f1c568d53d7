"""Slurm's own commands: a job is submitted, looked up, and cancelled."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from study.errors import UserError

_SECONDS = 30
"""How long a command may take; on a busy controller they take some."""
_FIELDS = ("%K", "%T", "%L", "%N", "%r", "%S")
_KEPT = {"SLURM_CLUSTERS", "SLURM_CONF", "SLURM_JWT"}
"""What sbatch reads; other `SLURM_` variables are of the job in which a shell runs, and not of the one it submits."""
_DROPPED = {"SBATCH_ARRAY_INX", "SBATCH_ERROR", "SBATCH_WAIT"}
"""What the script leaves out, and must not get."""
_LIMITED = re.compile("array|submit ?limit", re.IGNORECASE)
"""In sbatch's answer if a site allows no array of this size, or fewer jobs at once."""


class Task(NamedTuple):
    """A line of `squeue`: a task of a job array, or all that wait.

    Attributes:
        tasks: Its number, or the numbers of those that wait, such as `3-20%1`; 1 if the job is no array.
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

    Variables such as SBATCH_TIMELIMIT count more than the script, and the command line more than they: so the script's
    options stand there too.

    Raises:
        UserError: Slurm refuses it.
    """
    lines = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH ")]
    options = [option for line in lines for option in shlex.split(line)[1:]]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not (name.startswith("SLURM_") or name in _DROPPED)
    }
    answer = _run("sbatch", "--parsable", *options, str(script), environment=environment)
    with contextlib.suppress(ValueError):
        return int(answer.stdout.strip().partition(";")[0])  # JOB or JOB;CLUSTER
    reason = _reason(answer)
    advice = "; try fewer --sessions, 1 makes no job array" if _LIMITED.search(reason) else ""
    raise UserError(f"sbatch refuses {script}: {reason}{advice}")


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
    return [Task(line[0].replace("N/A", "1"), *line[1:]) for line in lines if len(line) == len(_FIELDS)]


def cancel(job: int) -> None:
    """Ends a job: the session that runs and those that wait.

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


def _run(*command: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": _SECONDS, "stdin": subprocess.DEVNULL}
    try:
        return subprocess.run(command, env=environment, **options)
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} did not answer within {_SECONDS} s: try again later") from None


def _reason(answer: subprocess.CompletedProcess[str]) -> str:
    lines = answer.stderr.strip().splitlines() or [f"status {answer.returncode}"]
    return "; ".join(line.partition("error: ")[2] or line for line in lines)
