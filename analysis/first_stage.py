"""Shows validation images after the first stage of `stacked` alone, before any trial adds its own error.

python -m analysis.first_stage --study NAME --out first_stage.png
"""

from __future__ import annotations

import numpy as np

from analysis.plotting import command, naming
from analysis.plotting.pictures import Strips, describe_strips, plot_strips, representatives
from analysis.reconstructions import COUNT
from study.results.frame import StudyFrames

plot, describe = plot_strips, describe_strips


def info(frames: StudyFrames) -> Strips:
    """Images above their reconstructions by the first stage, which all trials on a data set share."""
    found = next(iter(representatives(frames, "first_stage")), None)
    if found is None:
        return Strips(frames.nothing("no completed trial has a first stage (network=stacked)"))
    images, reconstructions = found.arrays["originals"], found.arrays["first_stage"]
    error = naming.number(float(np.mean((images / 255 - reconstructions / 255) ** 2)))
    return Strips(
        missing="",
        title="Reconstructions by the first stage alone",
        labels=["data", "first stage"],
        methods=["", ""],
        rows=[images[:COUNT], reconstructions[:COUNT]],
        caption=(
            "Validation images (top) and their reconstructions by the convolutional first stage that all trials share. "
            f"Over {len(images)} images its squared error per pixel is {error}."
        ),
    )


if __name__ == "__main__":
    command.run_figure(info, plot, "first_stage.png")
