"""Plots how trials learn: error, sample quality, penalty, weight and active units over the epochs.

python -m analysis.learning_curves --study NAME --out learning_curves.png
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, style
from analysis.plotting.curves import Named, background_rows, draw_named, named_handles, named_trials
from study.results.frame import StudyFrames

LOGARITHMIC = ("train/penalty", "train/weight")  # over decades; what is 0 or, as an MMD can be, below is left out
METRICS = ("train/penalty", "train/weight", "val/active_units")
Line = tuple[np.ndarray, np.ndarray]


class LearningCurves(NamedTuple):
    """Histories of the named trials and of others behind them.

    Attributes:
        missing: Why there is nothing to draw, or "".
        metrics: Columns, one panel each: the objectives, then those of `METRICS` that were measured.
        named: The trials with a name.
        lines: Metric -> (epochs, values) per named trial, empty arrays where it was not measured.
        background: Metric -> the same of unnamed trials.
    """

    missing: str
    metrics: list[str]
    named: list[Named]
    lines: dict[str, list[Line]]
    background: dict[str, list[Line]]


def learning_curves_info(frames: StudyFrames) -> LearningCurves:
    """Takes the epochs at which a metric was measured, as they are."""
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
    """A panel per metric, one legend of trials."""
    if info.missing:
        return style.message_figure(info.missing)
    columns = min(3, len(info.metrics))
    rows = -(-len(info.metrics) // columns)
    spare = rows * columns > len(info.metrics)
    figure = style.new_figure((0.4 if spare else 2.9) + 2.6 * columns, 0.5 + 2.4 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes, metric in zip(panels.flat, info.metrics, strict=False):
        for epochs, values in info.background[metric]:
            mark = "." if len(epochs) == 1 else ""  # a line of one point would not show
            axes.plot(epochs, values, color="#c9c9c9", linewidth=0.5, marker=mark, markersize=3, zorder=1)
        for trial, (epochs, values) in zip(info.named, info.lines[metric], strict=True):
            draw_named(axes, trial, epochs, values)
        shown = np.concatenate([values for _, values in (*info.lines[metric], *info.background[metric])])
        if metric in LOGARITHMIC:
            shown = shown[shown > 0]
        if style.use_log(shown) and metric != "val/active_units":
            style.log_axis(axes, "y", shown)
        axes.set_title(style.label(metric).replace(" (", "\n("), fontweight="normal", fontsize=8.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if metric == "val/active_units":
            axes.yaxis.get_major_locator().set_params(integer=True)
    for index, axes in enumerate(panels.flat):
        if index >= len(info.metrics):
            axes.set_axis_off()
        elif index + columns >= len(info.metrics):
            axes.set_xlabel("Epoch")
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
    """The figure in words."""
    if info.missing:
        return info.missing
    others = len(info.background[info.metrics[0]])
    text = f"Curves over the epochs: {style.count(len(info.named))} by name"
    text += f", {others} others in grey" if others else ""
    return f"{text}. Objectives are judged at the last epoch alone, whatever lower values came before."


if __name__ == "__main__":
    command.run_figure(learning_curves_info, plot, "learning_curves.png")
