"""Draws the report's figures, some of them in a process beside this one: a study's end then takes a second less."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from analysis import style
from analysis.figures import FIGURES
from analysis.frame import StudyFrames

_BESIDE = -len(FIGURES) // 3
"""From here on the figures are the other process's: it takes a second to start."""

Drawn = dict[str, str]
"""A figure's `name`, `title` and `text`, its picture lying in a file of that name; or why it is `missing`."""


def draw(frames: StudyFrames, out: Path) -> list[Drawn]:
    """Draws every figure of `FIGURES` that the study has data for, as a PNG.

    Where the other process fails, its figures are drawn here, and what is wrong with them is met here.

    Args:
        frames: The study.
        out: The folder.

    Returns:
        All figures, in their order.

    Raises:
        UserError: The folder cannot be written to.
    """
    names = list(FIGURES)
    with tempfile.TemporaryFile() as task:
        pickle.dump((frames, out, names[_BESIDE:]), task)
        task.seek(0)
        beside = _start(task)
    try:
        ours = draw_figures(frames, out, names[:_BESIDE])
        answer, _ = beside.communicate()
    finally:
        beside.kill()
        beside.wait()
    theirs = json.loads(answer) if beside.returncode == 0 else draw_figures(frames, out, names[_BESIDE:])
    return ours + theirs


def _start(task: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    command = [sys.executable, "-m", "analysis.drawing"]
    return subprocess.Popen(
        command, stdin=task, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    )


def draw_figures(frames: StudyFrames, out: Path, names: Sequence[str]) -> list[Drawn]:
    """Draws some of `FIGURES`, in this process."""
    drawn = []
    for name in names:
        spec = FIGURES[name]
        info = spec.info(frames)
        if info.missing:
            drawn.append({"name": name, "title": spec.title, "missing": info.missing})
        else:
            style.save(spec.plot(info), out / f"{name}.png")
            drawn.append({"name": name, "title": spec.title, "text": spec.describe(info)})
    return drawn


if __name__ == "__main__":
    json.dump(draw_figures(*pickle.load(sys.stdin.buffer)), sys.stdout)
