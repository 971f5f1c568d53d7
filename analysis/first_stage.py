"""Shows validation images after the first stage of `stacked` alone, before any trial adds its own error.

python -m analysis.first_stage --study NAME --out first_stage.png
"""

from __future__ import annotations

import numpy as np

from analysis.plotting import command, style
from analysis.plotting.pictures import Strips, describe_strips, plot_strips, representatives
from analysis.reconstructions import COUNT
from study.results.frame import StudyFrames

plot, describe = plot_strips, describe_strips


def first_stage_info(frames: StudyFrames) -> Strips:
    """Images above their reconstructions by the first stage, which is one and the same for all trials of a data set."""
    found = next(iter(representatives(frames, "first_stage")), None)
    if found is None:
        return Strips(frames.nothing("no completed trial has a first stage (network=stacked)"), "", [], [], [], "")
    images, reconstructions = found.arrays["originals"], found.arrays["first_stage"]
    error = style.number(float(np.mean((images / 255 - reconstructions / 255) ** 2)))
    return Strips(
        missing="",
        title="Reconstructions by the first stage alone",
        labels=["data", "first stage"],
        methods=["", ""],
        rows=[images[:COUNT], reconstructions[:COUNT]],
        caption=(
            "Validation images (top) and what the convolutional first stage, which all trials share, makes of them. "
            f"Over {len(images)} images its squared error per pixel is {error}."
        ),
    )


if __name__ == "__main__":
    command.run_figure(first_stage_info, plot, "first_stage.png")
