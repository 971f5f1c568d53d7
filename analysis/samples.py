"""Shows random samples, 49 from N(0, I), by method and latent size.

python -m analysis.samples --study NAME --out samples.png
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from matplotlib.figure import Figure

from analysis.plotting import command, style
from analysis.plotting.pictures import NO_PICTURES, Representative, representatives, show, text_colour, tile
from study.results.frame import StudyFrames

ROW = 7


class Samples(NamedTuple):
    """Grids side by side.

    Attributes:
        missing: Why there is nothing to draw, or "".
        trials: One per method and latent size, in that order.
    """

    missing: str
    trials: list[Representative]


def samples_info(frames: StudyFrames) -> Samples:
    """One trial per method and latent size; all of one latent size decode the same codes."""
    found = representatives(frames, "samples")
    return Samples("" if found else frames.nothing(NO_PICTURES), found)


def plot(info: Samples) -> Figure:
    """Grids in reading order; where every method has every size, a method is a row."""
    if info.missing:
        return style.message_figure(info.missing)
    sizes = len({trial.latent_dim for trial in info.trials})
    complete = len(info.trials) == sizes * len({trial.method for trial in info.trials})
    columns = sizes if complete and sizes > 1 else min(4, len(info.trials))
    rows = -(-len(info.trials) // columns)
    figure = style.new_figure(max(3.0, 2.0 * columns), 2.35 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, trial in itertools.zip_longest(panels.flat, info.trials):
        if trial is None:
            axes.set_axis_off()
            continue
        show(axes, tile(trial.arrays["samples"], ROW))
        axes.set_title(trial.label, loc="left", fontsize=8, fontweight="normal", color=text_colour(trial.method))
    return figure


def describe(info: Samples) -> str:
    """The figure in words."""
    if info.missing:
        return info.missing
    return (
        f"Images decoded from N(0, I) by {style.count(len(info.trials))}: for each method and latent size the one "
        "with the best compromise between the objectives. None was picked by eye."
    )


if __name__ == "__main__":
    command.run_figure(samples_info, plot, "samples.png")
