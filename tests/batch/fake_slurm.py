"""Programs in the place of Slurm's."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

PROGRAMS = ("sbatch", "squeue", "scancel")
_PROGRAM = """#!/bin/sh
echo {name} "$@" >> {calls}
{answer}
"""


class FakeSlurm:
    """`sbatch`, `squeue` and `scancel`: each notes its call and runs a line of shell.

    Args:
        folder: Where they lie.
        monkeypatch: Puts the folder first on the PATH.
        answers: The line of shell by program; by default `sbatch` gives job 17, and the queue is empty.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **answers: str) -> None:
        folder.mkdir(exist_ok=True)
        self._calls = folder / "calls"
        for name in PROGRAMS:
            default = "echo '17;cluster'" if name == "sbatch" else "true"
            program = folder / name
            answer = answers.get(name, default)
            program.write_text(_PROGRAM.format(name=name, calls=shlex.quote(str(self._calls)), answer=answer))
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    @property
    def calls(self) -> list[str]:
        """The command lines so far."""
        return self._calls.read_text().splitlines() if self._calls.exists() else []
