"""Draws the report's figures, some of them in a second process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.plotting import style
from analysis.reporting.embedding import embedded
from analysis.reporting.figures import FIGURES
from study.results.frame import StudyFrames, join_studies, load_study

_OURS = len(FIGURES) * 3 // 5
"""Number of figures this process draws; it builds the page too, and the second process takes a second to start."""

Drawn = dict[str, str]
"""A figure's `name` (also of its file), `title`, `text` and `image` (a `data:` address); or why it is `missing`."""


def draw(frames: StudyFrames, out: Path, folders: Sequence[Path] = ()) -> list[Drawn]:
    """Draws every figure of `FIGURES` that the study has data for, as a PNG.

    If the second process fails, this one draws its figures too, and meets its errors.

    Args:
        frames: The study.
        out: The folder to write to.
        folders: The studies' folders, if the frames hold all of their trials: the second process reads them.

    Returns:
        All figures, in order.

    Raises:
        UserError: The folder cannot be written.
    """
    names = list(FIGURES)
    if not folders:
        return draw_figures(frames, out, names)
    ours, theirs = names[:_OURS], names[_OURS:]
    try:
        second = _start(folders, out, theirs)
    except OSError:  # for example, no memory for it
        return draw_figures(frames, out, names)
    with second:
        try:
            drawn = draw_figures(frames, out, ours)
            output, _ = second.communicate()
        finally:
            second.kill()
    return drawn + (json.loads(output) if second.returncode == 0 else draw_figures(frames, out, theirs))


def _start(folders: Sequence[Path], out: Path, names: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    task = json.dumps({"folders": [str(path) for path in folders], "out": str(out), "names": list(names)})
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "analysis.reporting.drawing", task],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C goes to this process alone
    )


def draw_figures(frames: StudyFrames, out: Path, names: Sequence[str]) -> list[Drawn]:
    """Draws some of `FIGURES`, in this process."""
    drawn = []
    with style.of_study(frames):
        for name in names:
            title, module = FIGURES[name]
            info = module.info(frames)
            if info.missing:
                drawn.append({"name": name, "title": title, "missing": info.missing})
            else:
                file = style.save(module.plot(info), out / f"{name}.png")
                image = embedded(file.read_bytes())
                drawn.append({"name": name, "title": title, "text": module.describe(info), "image": image})
    return drawn


def main() -> None:
    """Runs the second process: draws what its argument says and prints the result as JSON."""
    task = json.loads(sys.argv[1])
    folders = [Path(folder) for folder in task["folders"]]
    frames = join_studies(load_study(folder.parent, folder.name) for folder in folders)
    json.dump(draw_figures(frames, Path(task["out"]), task["names"]), sys.stdout)


if __name__ == "__main__":
    main()
