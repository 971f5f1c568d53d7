"""What `study status` shows of a study's Slurm job."""

from __future__ import annotations

import shlex
from pathlib import Path

from study.batch.queue import Task, tasks_of
from study.disk.slurm_job import SlurmJob, SlurmSession, read_job, read_sessions


def cancel_command(study: Path) -> str:
    """The command that ends the job, quoted for a shell."""
    return shlex.join(["study", "slurm", "--cancel", study.name, "--runs-dir", str(study.parent)])


def job_lines(study: Path) -> list[str]:
    """The state of the study's job, from Slurm's queue if it can be asked here, else from what the job has written.

    Args:
        study: The study's folder.

    Returns:
        Lines for `study status`; none if the study was not submitted.
    """
    job = read_job(study)
    if job is None:
        return []
    sessions = read_sessions(study, job.job)
    tasks = tasks_of(job.job)
    if not tasks:
        return [f"slurm        job {job.job}: {_without_queue(job, sessions, known=tasks is not None)}"]
    ending = next((session.over for session in reversed(sessions) if session.over), None)
    words = [_words(task, job, ending) for task in tasks]
    lines = [f"slurm        job {job.job}: {words[0]}", *(f"             {line}" for line in words[1:])]
    return lines if ending else [*lines, f"to end it    {cancel_command(study)}"]


def _words(task: Task, job: SlurmJob, ending: str | None) -> str:
    if task.state == "PENDING":
        waiting = f"sessions {task.tasks.partition('%')[0]} of {job.sessions} wait ({task.reason})"
        return waiting + (f", expected at {task.begins}" if task.begins not in ("N/A", "") else "")
    doing = task.state.lower()
    after = f"; no session follows: {ending}" if ending else ""
    return f"session {task.tasks} of {job.sessions} is {doing} on {task.nodes}, {task.left} left{after}"


def _without_queue(job: SlurmJob, sessions: list[SlurmSession], *, known: bool) -> str:
    """What the job itself has written.

    Args:
        job: The job.
        sessions: Its sessions so far.
        known: The queue was asked, and the job is not there.
    """
    last = sessions[-1] if sessions else None
    if last is not None and last.over:
        return f"over after {len(sessions)} of {job.sessions} sessions: {last.over}"
    if known:
        return f"not in the queue any more, after {len(sessions)} of {job.sessions} sessions; submit again to go on"
    if last is None:
        return f"submitted at {job.submitted}; no session has begun (squeue is not here to tell more)"
    state = f"begun on {last.host} at {last.begun}" if last.ended is None else f"ended at {last.ended}"
    return f"session {last.task} of {job.sessions} {state} (squeue is not here to tell more)"
