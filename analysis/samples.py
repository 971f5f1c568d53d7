"""Shows random samples, 49 from N(0, I), by method and latent size.

python -m analysis.samples --study NAME --out samples.png
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from analysis.plotting import command, naming, style
from analysis.plotting.pictures import NO_PICTURES, Representative, representatives, show, text_colour, tile
from study.results.frame import StudyFrames

ROW = 7


class Samples(NamedTuple):
    """Grids of samples.

    Attributes:
        missing: Why there is nothing to draw, or "".
        trials: One per method and latent size, in that order.
        array: Which of their arrays holds the samples.
    """

    missing: str
    trials: list[Representative]
    array: str = "samples"


def info(frames: StudyFrames, trials: Sequence[str] = ()) -> Samples:
    """Takes one trial per method and latent size; trials of one latent size decode the same codes."""
    found = representatives(frames, "samples", trials=trials)
    return Samples("" if found else frames.nothing(NO_PICTURES), found)


def plot(info: Samples) -> Figure:
    """Draws a row per method and a column per latent size, or in reading order if most of those would be empty."""
    methods = list(dict.fromkeys(trial.method for trial in info.trials))
    sizes = sorted({trial.latent_dim for trial in info.trials})
    placed: list[Representative | None] = list(info.trials)
    columns = min(4, len(placed))
    found = {(trial.method, trial.latent_dim): trial for trial in info.trials}
    if len(sizes) > 1 and len(found) == len(placed) > len(methods) * len(sizes) / 2:
        placed, columns = [found.get(place) for place in itertools.product(methods, sizes)], len(sizes)
    rows = -(-len(placed) // columns)
    figure = style.new_figure(max(3.0, 2.0 * columns), 2.35 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, trial in itertools.zip_longest(panels.flat, placed):
        if trial is None:
            axes.set_axis_off()
            continue
        show(axes, tile(trial.arrays[info.array], ROW))
        axes.set_title(trial.label, loc="left", fontsize=8, fontweight="normal", color=text_colour(trial.method))
    return figure


def describe(info: Samples) -> str:
    """The figure's caption and alt text."""
    return (
        f"Images decoded from N(0, I) by {naming.count(len(info.trials))}: for each method and latent size, and what "
        "else varies, the one with the best compromise between the objectives. None was chosen by eye."
    )


if __name__ == "__main__":
    command.run_figure(info, plot, "samples.png")
