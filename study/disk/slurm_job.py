"""A study's Slurm job: what was submitted, and the sessions that it has begun.

runs/<study>/slurm/
    job.json        what was submitted; written by `study slurm`
    sessions.jsonl  a line when a session begins and one when it ends; written by the job, on its first node
    job.sbatch      the batch script
    ray_token       what lets a process join the job's Ray; readable by its owner alone
    17_1.log        the output of session 1 of job 17
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, StrictStr

from study.disk.files import read_json, read_lines, write_json
from study.disk.layout import slurm_path

_Count = Annotated[int, Field(strict=True, ge=0)]


class SlurmJob(pydantic.BaseModel, frozen=True, extra="allow"):
    """What `job.json` holds.

    Attributes:
        format: Of this file.
        job: Slurm's number of the job array.
        sessions: Allocations that it has at most, one after another: the array's tasks.
        nodes: Nodes of each.
        seconds: Time limit of each.
        submitted: ISO 8601, UTC.
    """

    format: Literal[1] = 1
    job: Annotated[int, Field(strict=True, ge=1)]
    sessions: _Count
    nodes: _Count
    seconds: _Count
    submitted: StrictStr


class SlurmSession(pydantic.BaseModel, frozen=True, extra="allow"):
    """One allocation of the job, merged from its lines in `sessions.jsonl`.

    Attributes:
        job: Slurm's number of the job array.
        task: Which of its tasks, from 1.
        restart: How often Slurm had put this task back into the queue before.
        host: The first node, where the driver runs.
        nodes: All nodes, as Slurm abbreviates them.
        begun: ISO 8601, UTC.
        epochs: Epochs that the study had trained when it began.
        ended: ISO 8601, UTC; None while it runs, or if it was cut off.
        over: Why no session follows; None if one may.
    """

    job: _Count
    task: _Count
    restart: _Count = 0
    host: StrictStr = ""
    nodes: StrictStr = ""
    begun: StrictStr
    epochs: _Count
    ended: StrictStr | None = None
    over: StrictStr | None = None


def job_path(study: Path) -> Path:
    """What was submitted."""
    return slurm_path(study) / "job.json"


def sessions_path(study: Path) -> Path:
    """The sessions of this and of earlier jobs."""
    return slurm_path(study) / "sessions.jsonl"


def script_path(study: Path) -> Path:
    """The batch script."""
    return slurm_path(study) / "job.sbatch"


def token_path(study: Path) -> Path:
    """The token of the job's Ray."""
    return slurm_path(study) / "ray_token"


def write_job(study: Path, job: SlurmJob) -> None:
    """Writes the record atomically."""
    write_json(job_path(study), job.model_dump(mode="json"))


def read_job(study: Path) -> SlurmJob | None:
    """The record of the newest job; None if there is none, or none that this version can read."""
    content = read_json(job_path(study))
    try:
        return None if content is None else SlurmJob.model_validate(content)
    except pydantic.ValidationError:
        return None


def append_session(study: Path, line: Mapping[str, Any]) -> None:
    """Writes down that a session has begun or ended: the fields of `SlurmSession` that are known now.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    with open(sessions_path(study), "ab") as file:
        # A session that was killed while it wrote may have left half a line.
        file.write(b"\n" + json.dumps(dict(line)).encode() + b"\n")


def read_sessions(study: Path, job: int) -> list[SlurmSession]:
    """The sessions of a job in the order in which they began. Lines that are damaged are skipped."""
    merged: dict[tuple[Any, Any], dict[str, Any]] = {}
    for line in read_lines(sessions_path(study)):
        if line.get("job") == job:
            merged.setdefault((line.get("task"), line.get("restart")), {}).update(line)
    found = []
    for content in merged.values():
        with contextlib.suppress(pydantic.ValidationError):
            found.append(SlurmSession.model_validate(content))
    return found
