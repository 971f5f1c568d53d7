"""Plots where the time went: training, evaluation and final work, by method and by how trials ended.

python -m analysis.time_spent --study NAME --out time_spent.png
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, naming, style
from study.results.frame import TIMES, StudyFrames

PARTS = dict(zip(TIMES, ("training", "evaluation", "test metrics and pictures"), strict=True))
COLOURS = ("#0072B2", "#E69F00", "#999999")


class TimeSpent(NamedTuple):
    """Sums of the trials' wall time in seconds; trials run in parallel, so the study itself took less.

    Attributes:
        missing: Why there is nothing to draw, or "".
        parts: Column names of the arrays.
        methods: Names, the longest total first.
        by_method: Seconds, [methods, parts].
        outcomes: Names, the longest total first.
        by_outcome: Seconds, [outcomes, parts].
        epoch_seconds: Method -> median training seconds per epoch.
    """

    missing: str
    parts: list[str]
    methods: list[str]
    by_method: np.ndarray
    outcomes: list[str]
    by_outcome: np.ndarray
    epoch_seconds: dict[str, float]


def info(frames: StudyFrames) -> TimeSpent:
    """Sums the recorded times; missing ones count as zero."""
    seconds = np.nan_to_num(np.stack([frames.column(name) for name in PARTS], axis=1))
    epochs, method, outcome = frames.column("epochs_done"), frames.text("method"), frames.text("outcome")
    methods, by_method = _sums(method, seconds)
    outcomes, by_outcome = _sums(outcome, seconds)
    timed = (epochs > 0) & (seconds[:, 0] > 0)
    return TimeSpent(
        missing="" if seconds.sum() > 0 else frames.nothing("no time was recorded"),
        parts=list(PARTS.values()),
        methods=methods,
        by_method=by_method,
        outcomes=outcomes,
        by_outcome=by_outcome,
        epoch_seconds={
            name: float(np.median(seconds[rows, 0] / epochs[rows]))
            for name in methods
            if (rows := timed & (method == name)).any()
        },
    )


def _sums(names: np.ndarray, seconds: np.ndarray) -> tuple[list[str], np.ndarray]:
    distinct = sorted(set(names.tolist()))
    sums = np.array([seconds[names == name].sum(axis=0) for name in distinct]).reshape(-1, seconds.shape[1])
    order = np.argsort(-sums.sum(axis=1), kind="stable")
    return [distinct[index] for index in order], sums[order]


def plot(info: TimeSpent) -> Figure:
    """Draws stacked bars by method and by outcome on one time axis."""
    bars = len(info.methods) + len(info.outcomes)
    figure = style.new_figure(6.8, 1.4 + 0.32 * bars)
    panels = figure.subplots(2, 1, sharex=True, height_ratios=[len(info.methods) + 0.5, len(info.outcomes) + 0.5])
    longest = max(info.by_method.sum(axis=1).max(), info.by_outcome.sum(axis=1).max())
    unit, scale = ("hours", 3600.0) if longest > 7200 else ("minutes", 60.0) if longest > 120 else ("seconds", 1.0)
    for axes, names, sums in zip(panels, (info.methods, info.outcomes), (info.by_method, info.by_outcome), strict=True):
        left = np.zeros(len(names))
        for index, (part, colour) in enumerate(zip(info.parts, COLOURS, strict=True)):
            axes.barh(names, sums[:, index] / scale, left=left, color=colour, label=part, height=0.65)
            left += sums[:, index] / scale
        for place, (name, end) in enumerate(zip(names, left, strict=True)):
            text = f"{naming.number(info.epoch_seconds[name])} s per epoch" if name in info.epoch_seconds else ""
            axes.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=7.5,
                          color=style.GREY)  # fmt: skip
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
    panels[0].set_xlim(0, 1.25 * longest / scale)
    panels[1].set_xlabel(f"Time, sum over all trials ({unit})")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def describe(info: TimeSpent) -> str:
    """The figure's caption and alt text."""
    total = info.by_method.sum()
    shares = ", ".join(
        f"{100 * part.sum() / total:.0f} % {name}" for name, part in zip(info.parts, info.by_method.T, strict=True)
    )
    text = f"{naming.number(total)} seconds of trial time: {shares}."
    if "stopped" in info.outcomes:
        stopped = info.by_outcome[info.outcomes.index("stopped")].sum()
        text += f" Trials stopped early took {100 * stopped / total:.0f} %."
    return text


if __name__ == "__main__":
    command.run_figure(info, plot, "time_spent.png")
