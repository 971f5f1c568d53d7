"""Draws the report's figures, some of them in a process beside this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.plotting import style
from analysis.reporting.figures import FIGURES
from study.results.frame import StudyFrames, join_studies, load_study

_OURS = len(FIGURES) * 2 // 3
"""So many of the figures are this process's; the other one takes a second to start."""

Drawn = dict[str, str]
"""A figure's `name`, `title` and `text`, its picture lying in a file of that name; or why it is `missing`."""


def draw(frames: StudyFrames, out: Path, folders: Sequence[Path] = ()) -> list[Drawn]:
    """Draws every figure of `FIGURES` that the study has data for, as a PNG.

    Where the other process fails, its figures are drawn here, and what is wrong with them is met here.

    Args:
        frames: The study.
        out: The folder.
        folders: The studies' directories, if the frames are all that these hold: the other process reads them.

    Returns:
        All figures, in their order.

    Raises:
        UserError: The folder cannot be written to.
    """
    names = list(FIGURES)
    if not folders:
        return draw_figures(frames, out, names)
    ours, theirs = names[:_OURS], names[_OURS:]
    try:
        beside = _start(folders, out, theirs)
    except OSError:  # no memory for it, say
        return draw_figures(frames, out, names)
    with beside:
        try:
            drawn = draw_figures(frames, out, ours)
            answer, _ = beside.communicate()
        finally:
            beside.kill()
    return drawn + (json.loads(answer) if beside.returncode == 0 else draw_figures(frames, out, theirs))


def _start(folders: Sequence[Path], out: Path, names: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    task = json.dumps({"folders": [str(path) for path in folders], "out": str(out), "names": list(names)})
    return subprocess.Popen(
        [sys.executable, "-m", "analysis.reporting.drawing", task],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is for us
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


def main() -> None:
    """The other process: draws what its argument says, and prints what it has drawn."""
    task = json.loads(sys.argv[1])
    folders = [Path(folder) for folder in task["folders"]]
    frames = join_studies(load_study(folder.parent, folder.name) for folder in folders)
    json.dump(draw_figures(frames, Path(task["out"]), task["names"]), sys.stdout)


if __name__ == "__main__":
    main()
