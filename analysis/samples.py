"""Random samples, 49 from N(0, I), side by side by method and latent size.

python -m analysis.samples --study NAME --out samples.png
"""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.figure import Figure

from analysis import command, style
from analysis.frame import StudyFrames
from analysis.pictures import NO_PICTURES, Representative, label_row, representatives, show, tile

ROW = 7


class Samples(NamedTuple):
    """A grid of grids.

    Attributes:
        missing: Why there is nothing to draw, or "".
        methods: Down.
        sizes: Latent sizes, across.
        trials: By (method, latent size); not every pair was trained.
    """

    missing: str
    methods: list[str]
    sizes: list[int]
    trials: dict[tuple[str, int], Representative]


def samples_info(frames: StudyFrames) -> Samples:
    """One trial per method and latent size; all of one latent size decode the same codes."""
    found = representatives(frames, "samples")
    return Samples(
        missing="" if found else frames.nothing(NO_PICTURES),
        methods=style.methods_in_order(trial.method for trial in found),
        sizes=sorted({trial.latent_dim for trial in found}),
        trials={(trial.method, trial.latent_dim): trial for trial in found},
    )


def plot(info: Samples) -> Figure:
    """Methods down, latent sizes across."""
    if info.missing:
        return style.message_figure(info.missing)
    rows, columns = len(info.methods), len(info.sizes)
    figure = style.new_figure(1.2 + 1.9 * columns, 0.3 + 2.0 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    for row, method in enumerate(info.methods):
        for column, size in enumerate(info.sizes):
            axes = panels[row, column]
            trial = info.trials.get((method, size))
            if trial is None:
                axes.set_axis_off()
            else:
                show(axes, tile(trial.arrays["samples"], ROW))
                axes.set_xlabel(f"trial {trial.trial}", fontsize=7, labelpad=2)
            if row == 0:
                axes.set_title(f"d = {size}", loc="center", fontweight="normal")
            if column == 0:
                axes.set_axis_on()
                label_row(axes, method, method)
                if trial is None:
                    axes.set(xticks=[], yticks=[])
                    axes.spines[:].set_visible(False)
    return figure


def describe(info: Samples) -> str:
    """The figure in words."""
    if info.missing:
        return info.missing
    sizes = ", ".join(str(size) for size in info.sizes)
    return (
        f"Images decoded from N(0, I), by method ({', '.join(info.methods)}) down and latent size ({sizes}) across; "
        "each grid is of the trial with the best compromise for its method and size, and none was picked by eye."
    )


if __name__ == "__main__":
    command.run_figure(samples_info, plot, "samples.png")
