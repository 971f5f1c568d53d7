"""Shows interpolations between the codes of two validation images, by method and latent size.

python -m analysis.interpolations --study NAME --pair 0 --out interpolations.png
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.plotting import command, naming
from analysis.plotting.pictures import NO_PICTURES, Strips, describe_strips, no_pair, plot_strips, representatives
from study.results.frame import StudyFrames

plot, describe = plot_strips, describe_strips


def info(frames: StudyFrames, pair: int = 0, trials: Sequence[str] = ()) -> Strips:
    """The pair itself, and a row per trial below it, whose ends are reconstructions."""
    saved = representatives(frames, "interpolations", trials=trials)
    found = [trial for trial in saved if len(trial.arrays["interpolations"]) > pair]
    if not found:
        return Strips(frames.nothing(no_pair(pair) if saved else NO_PICTURES))
    rows = [trial.arrays["interpolations"][pair] for trial in found]
    labels, methods = [trial.label for trial in found], [trial.method for trial in found]
    caption = (
        f"Interpolations between two validation images in the latent space of {naming.count(len(found))}, one row each."
    )
    originals, other = found[0].arrays.get("originals", np.empty(0)), len(found[0].arrays["interpolations"]) + pair
    if other < len(originals):  # with n pairs, pair i joins images i and n + i
        data = np.full_like(rows[0], 255)
        data[0], data[-1] = originals[pair], originals[other]
        rows, labels, methods = [data, *rows], ["data", *labels], ["", *methods]
        caption += " The top row shows the images themselves."
    title = "Interpolations between two validation images"
    return Strips("", title, labels, methods, rows, caption)


if __name__ == "__main__":
    command.run_figure(info, plot, "interpolations.png")
