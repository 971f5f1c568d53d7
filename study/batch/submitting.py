"""A study is submitted to Slurm, or its job cancelled."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from study.batch.preparing import check_locks, ensure_token, prepare
from study.batch.queue import cancel, check_slurm, submit, tasks_of
from study.batch.script import Allocation, render, seconds_of
from study.batch.shown import cancel_command
from study.disk.files import write_atomic
from study.disk.layout import STUDY_NAME, slurm_path
from study.disk.slurm_job import SlurmJob, read_job, script_path, token_path, write_job
from study.disk.timestamp import now
from study.errors import UserError

_CODE = Path(__file__).parents[2]


class Submitted(NamedTuple):
    """What there is to tell.

    Attributes:
        lines: For standard output.
        warnings: What may not go well, a line each.
    """

    lines: list[str]
    warnings: list[str]


def submit_study(arguments: Sequence[str], allocation: Allocation, *, show: bool = False) -> Submitted:
    """Checks a study, writes its batch script into its folder, and submits it.

    Args:
        arguments: Options of `python -m study.run`.
        allocation: What each session asks for.
        show: Give the script, and submit and write nothing.

    Raises:
        UserError: The options allow no study, Slurm refuses the job, or the study has one already.
    """
    if not show:
        check_slurm()
    prepared = prepare(arguments, allocation)
    directory = prepared.directory
    script = render(
        allocation,
        directory,
        prepared.arguments,
        python=sys.executable,
        code=_CODE,
        token=token_path(directory),
        folder=Path.cwd(),
    )
    if show:
        return Submitted(script.splitlines(), prepared.warnings)
    _check_no_job(directory)
    slurm_path(directory).mkdir(parents=True, exist_ok=True)
    check_locks(slurm_path(directory))
    ensure_token(directory)
    write_atomic(script_path(directory), script.encode())
    job = submit(script_path(directory))
    record = SlurmJob(
        job=job,
        sessions=allocation.sessions,
        nodes=allocation.nodes,
        seconds=seconds_of(allocation.time),
        submitted=now(),
    )
    write_job(directory, record)
    place = ["--study", directory.name, "--runs-dir", str(directory.parent)]
    most = "one session" if allocation.sessions == 1 else f"at most {allocation.sessions} sessions, one after another"
    lines = [
        f"job          {job}: {most}, {allocation.time} each on {allocation.nodes} nodes",
        f"script       {script_path(directory)}",
        f"log          {slurm_path(directory)}/{job}_*.log",
        f"its state    {shlex.join(['study', 'status', *place])}",
        f"to end it    {cancel_command(directory)}, or scancel {job}",
    ]
    return Submitted(lines, prepared.warnings)


def cancel_job(runs: Path, name: str) -> str:
    """Ends the job of a study; a line that says so.

    Raises:
        UserError: It has none, or Slurm refuses.
    """
    record = read_job(runs / name) if STUDY_NAME.fullmatch(name) else None
    if record is None:
        raise UserError(f"--cancel {name}: no study of this name in {runs} was submitted to Slurm; see --runs-dir")
    check_slurm()
    if tasks_of(record.job) == []:
        return f"job {record.job} of study {name} is not in the queue: there is nothing to cancel"
    cancel(record.job)
    return f"job {record.job} of study {name} is cancelled; what it has trained is kept, and may be submitted again"


def _check_no_job(directory: Path) -> None:
    record = read_job(directory)
    if record is None:
        return
    tasks = tasks_of(record.job)
    if tasks is None:
        raise UserError(f"squeue does not say whether job {record.job} of this study is still in the queue: try again")
    if tasks:
        raise UserError(
            f"job {record.job} of study {directory.name!r} is in the queue already: wait for it, or end it with "
            f"{cancel_command(directory)}"
        )
