"""`python requirements.py pyproject.toml EXTRA...`: prints what a project depends on, without the project itself."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """A project's dependencies and those of the extras named."""
    project = tomllib.loads(pyproject.read_text())["project"]
    chosen = [project["optional-dependencies"][extra] for extra in extras]
    return [line for lines in (project["dependencies"], *chosen) for line in lines]


if __name__ == "__main__":
    print(*requirements(Path(sys.argv[1]), sys.argv[2:]), sep="\n")
