"""Shows interpolations between the codes of two validation images, by method and latent size.

python -m analysis.interpolations --study NAME --pair 0 --out interpolations.png
"""

from __future__ import annotations

import numpy as np

from analysis.plotting import command, style
from analysis.plotting.pictures import NO_PICTURES, Strips, describe_strips, no_pair, plot_strips, representatives
from study.results.frame import StudyFrames

plot, describe = plot_strips, describe_strips


def interpolations_info(frames: StudyFrames, pair: int = 0) -> Strips:
    """The pair itself, and below it a row of each trial; the ends of those are reconstructions."""
    left = representatives(frames, "interpolations")
    found = [trial for trial in left if len(trial.arrays["interpolations"]) > pair]
    if not found:
        return Strips(frames.nothing(no_pair(pair) if left else NO_PICTURES), "", [], [], [], "")
    rows = [trial.arrays["interpolations"][pair] for trial in found]
    labels, methods = [trial.label for trial in found], [trial.method for trial in found]
    caption = f"Two validation images joined through the latent space of {style.count(len(found))}, one row each."
    originals, other = found[0].arrays.get("originals", np.empty(0)), len(found[0].arrays["interpolations"]) + pair
    if other < len(originals):  # a pair's second image lies as many further on as there are pairs
        data = np.full_like(rows[0], 255)
        data[0], data[-1] = originals[pair], originals[other]
        rows, labels, methods = [data, *rows], ["data", *labels], ["", *methods]
        caption += " The top row holds the images themselves."
    title = "From one validation image to another through the latent space"
    return Strips("", title, labels, methods, rows, caption)


if __name__ == "__main__":
    command.run_figure_of_pairs(interpolations_info, plot, "interpolations.png")
