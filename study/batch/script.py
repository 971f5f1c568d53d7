"""The batch script of a study's Slurm job, from its template `job.sbatch.jinja`."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import jinja2

from study.disk.layout import slurm_path
from study.errors import UserError

_LONGEST_RESERVE, _SHORTEST_RESERVE = 180, 10
_SHORTEST = 60
"""Seconds; Slurm counts in minutes."""
_MOST_DAYS = 365
_OURS = (
    *("array", "chdir", "error", "export", "job-name", "nodes", "ntasks-per-node", "open-mode", "output", "signal"),
    *("test-only", "time", "wait", "wrap"),
)
"""Options of sbatch that the script sets itself, or with which it would not work."""
_DURATION = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)


def seconds_of(time: str) -> int:
    """A time limit as Slurm writes it: MINUTES, MINUTES:SECONDS, H:M:S, DAYS-H, DAYS-H:M or DAYS-H:M:S.

    Raises:
        UserError: It is none, or no limit for a study.
    """
    match = _DURATION.fullmatch(time)
    if match is None:
        raise UserError(f"--time {time}: write it as Slurm does, such as 8:00:00 for eight hours or 1-12 for 36 hours")
    days, first, second, third = (None if part is None else int(part) for part in match.groups())
    if days is not None:
        parts = (days, first or 0, second or 0, third or 0)
    elif third is not None:
        parts = (0, first or 0, second or 0, third)
    else:
        parts = (0, 0, first or 0, second or 0)
    seconds = ((parts[0] * 24 + parts[1]) * 60 + parts[2]) * 60 + parts[3]
    if not _SHORTEST <= seconds <= _MOST_DAYS * 86_400:
        raise UserError(f"--time {time}: a session lasts at least a minute and at most {_MOST_DAYS} days")
    return seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allocation:
    """What each session asks Slurm for.

    Attributes:
        time: The time limit, as Slurm writes it.
        nodes: Nodes.
        cpus: Cores of each node; None for whole nodes.
        gpus: GPUs of each node.
        sessions: Allocations, one after another, at most.
        options: Further options of sbatch.
    """

    time: str
    nodes: int
    cpus: int | None = None
    gpus: int = 0
    sessions: int = 20
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        seconds_of(self.time)
        for option in self.options:
            match = re.fullmatch(r"--([a-z][a-z0-9-]*)(=[^\n\r]*)?", option)
            if match is None:
                raise UserError(f"--sbatch-option={option}: write one long option of sbatch, such as --constraint=a100")
            if match[1] in _OURS:
                raise UserError(f"--sbatch-option={option}: leave it out, the job needs --{match[1]} as it is")

    @property
    def reserve(self) -> int:
        """Seconds before the end: in the first half trials save a checkpoint, in the second the driver ends.

        A node that reads the study's folder over NFS may see what is new there after a minute.
        """
        return min(_LONGEST_RESERVE, max(_SHORTEST_RESERVE, seconds_of(self.time) // 10))


def render(
    allocation: Allocation,
    directory: Path,
    arguments: Sequence[str],
    *,
    python: str,
    code: Path,
    token: Path,
    folder: Path,
) -> str:
    """The batch script.

    Args:
        allocation: What each session asks for.
        directory: The study's folder, on a file system that all nodes share.
        arguments: Of `python -m study.run`; not those that the job sets itself.
        python: The interpreter.
        code: The folder that holds the package `study`.
        token: The file with Ray's token.
        folder: The working directory.

    Raises:
        UserError: A path cannot be written into a script.
    """
    for path in (directory, code, token, folder, python):
        if not str(path).isprintable():
            raise UserError(f"{str(path)!a}: a batch script cannot name this path; rename it")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="{##",  # a shell writes ${#name}
        autoescape=False,  # a shell script; `quote` quotes for the shell
    )
    environment.globals["quote"] = lambda value: shlex.quote(str(value))
    return environment.get_template("job.sbatch.jinja").render(
        dataclasses.asdict(allocation),
        name=directory.name,
        directory=directory,
        arguments=shlex.join(arguments),
        reserve=allocation.reserve,
        seconds=seconds_of(allocation.time),
        python=python,
        code=code,
        token=token,
        folder=folder,
        log=f"{str(slurm_path(directory)).replace('%', '%%')}/{'%A_%a' if allocation.sessions > 1 else '%j_1'}.log",
    )
