"""Plots how trials learn: error, sample quality, penalty, weight and active units over the epochs.

python -m analysis.learning_curves --study NAME --out learning_curves.png
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, naming, style
from analysis.plotting.curves import (
    Line,
    Named,
    background_rows,
    draw_named,
    epoch_axis,
    named_handles,
    named_trials,
)
from study.results.frame import StudyFrames

LOGARITHMIC = ("train/penalty", "train/weight")
"""Metrics that span decades; values of 0 and below, which an MMD can have, are not drawn."""
METRICS = ("train/penalty", "train/weight", "val/active_units")


class LearningCurves(NamedTuple):
    """Histories of the named trials, and of others in grey.

    Attributes:
        missing: Why there is nothing to draw, or "".
        metrics: Columns, one panel each: the objectives, then those of `METRICS` that were measured.
        named: The named trials.
        lines: Metric -> curve of each named trial, empty if not measured.
        background: Metric -> curves of other trials.
    """

    missing: str
    metrics: list[str]
    named: list[Named]
    lines: dict[str, list[Line]]
    background: dict[str, list[Line]]


def info(frames: StudyFrames) -> LearningCurves:
    """Collects the curves; an epoch that did not measure a metric has no point."""
    metrics = [name for name in (*frames.objectives, *METRICS) if name in frames.history]
    metrics = [name for name in metrics if np.isfinite(frames.history[name].to_numpy(dtype=np.float64)).any()]
    named = named_trials(frames)
    others = background_rows(frames, named)
    return LearningCurves(
        missing="" if metrics and named else frames.nothing("no epoch has been recorded"),
        metrics=metrics,
        named=named,
        lines={name: [frames.curve(trial.row, name) for trial in named] for name in metrics},
        background={name: [frames.curve(row, name) for row in others] for name in metrics},
    )


def plot(info: LearningCurves) -> Figure:
    """Draws a panel per metric and one legend of trials."""
    columns = min(3, len(info.metrics))
    rows = -(-len(info.metrics) // columns)
    spare = rows * columns > len(info.metrics)
    figure = style.new_figure((0.4 if spare else 2.9) + 2.6 * columns, 0.5 + 2.4 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes, metric in zip(panels.flat, info.metrics, strict=False):
        for epochs, values in info.background[metric]:
            mark = "." if len(epochs) == 1 else ""  # a line through one point is invisible
            axes.plot(epochs, values, color="#c9c9c9", linewidth=0.5, marker=mark, markersize=3, zorder=1)
        for trial, (epochs, values) in zip(info.named, info.lines[metric], strict=True):
            draw_named(axes, trial, epochs, values)
        shown = np.concatenate([values for _, values in (*info.lines[metric], *info.background[metric])])
        if metric in LOGARITHMIC:
            shown = shown[shown > 0]
        if style.use_log(shown) and metric != "val/active_units":
            style.log_axis(axes, "y", shown)
        axes.set_title(naming.label(metric).replace(" (", "\n("), fontweight="normal", fontsize=8.5)
        if metric == "val/active_units":
            axes.yaxis.get_major_locator().set_params(integer=True)
    for index, axes in enumerate(panels.flat):
        if index >= len(info.metrics):
            axes.set_axis_off()
        elif index + columns >= len(info.metrics):
            epoch_axis(axes)
            axes.tick_params(labelbottom=True)
    handles = named_handles(info.named)
    if spare:
        legend = panels[-1, -1].legend(handles=handles, loc="upper left", title="trial", alignment="left", fontsize=7,
                                       bbox_to_anchor=(-0.15, 1.05))  # fmt: skip
        legend.set_in_layout(False)
    else:
        figure.legend(handles=handles, loc="outside right upper", title="trial", alignment="left")
    return figure


def describe(info: LearningCurves) -> str:
    """The figure's caption and alt text."""
    others = len(info.background[info.metrics[0]])
    text = f"Learning curves of {naming.count(len(info.named))}"
    text += f", and of {others} others in grey" if others else ""
    return f"{text}. A trial's objectives are those of its last epoch, even if earlier values were lower."


if __name__ == "__main__":
    command.run_figure(info, plot, "learning_curves.png")
