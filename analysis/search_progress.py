"""Plots what the search got for its epochs: the front's hypervolume over all epochs, stopped trials included.

python -m analysis.search_progress --study NAME --out search_progress.png
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, style
from study.config import EXTRA_ORIGINS
from study.measure.metrics import is_logarithmic
from study.results import pareto
from study.results.choice import choose, front_of
from study.results.frame import StudyFrames


class SearchProgress(NamedTuple):
    """Growth of the front, in the order in which trials ended.

    Attributes:
        missing: Why there is nothing to draw, or "".
        logarithmic: Whether the hypervolume is computed on log objectives.
        studies: Study name -> epochs trained when each trial ended, and the hypervolume then as a share of that of all
            studies together, [trials, 2]. Replicates and retrained trials do not count.
        on_front: Study name -> steps of its curve at which a trial of its final front ended.
    """

    missing: str
    logarithmic: bool
    studies: dict[str, np.ndarray]
    on_front: dict[str, np.ndarray]


def info(frames: StudyFrames) -> SearchProgress:
    """Uses the reference point on record (of several studies, the first one's).

    Without one, the reference point is slightly beyond the worst completed trial.
    """
    choice = choose(frames)
    usable = bool(choice.front.size) and choice.values.shape[1] == 2
    if not usable:
        return SearchProgress(frames.nothing("no trial has completed with two objectives"), False, {}, {})
    scaled = np.array([is_logarithmic(name) for name in frames.objectives])
    values = pareto.log_scaled(choice.values, scaled)
    if (recorded := frames.study.hypervolume_reference) is not None:
        reference = np.array(recorded)
    else:
        worst, best = values[choice.eligible].max(axis=0), values[choice.eligible].min(axis=0)
        reference = worst + 0.05 * np.maximum(worst - best, 1e-6)
    whole = pareto.hypervolume(values[choice.front], reference) or 1.0  # 0: the whole front is beyond the reference
    study, epochs = frames.text("study"), frames.column("epochs_done")
    searched = ~np.isin(frames.text("origin"), EXTRA_ORIGINS)
    studies, on_front = {}, {}
    for name in dict.fromkeys(study.tolist()):
        rows = np.flatnonzero((study == name) & (epochs > 0) & searched)
        rows = rows[np.lexsort((frames.column("number")[rows], frames.column("last_time")[rows]))]
        if not rows.size:
            continue
        curve, front = [], np.empty(0, dtype=int)
        for row in rows:
            if choice.eligible[row]:
                members = np.zeros(len(study), dtype=bool)
                members[[*front, row]] = True
                front = front_of(values, members)
            curve.append(pareto.hypervolume(values[front], reference) / whole)
        studies[name] = np.column_stack([np.cumsum(epochs[rows]), curve])
        on_front[name] = np.flatnonzero(np.isin(rows, front))
    return SearchProgress("", bool(scaled.all()), studies, on_front)


def plot(info: SearchProgress) -> Figure:
    """Draws a step per trial that ended, and marks the trials of the final front."""
    figure = style.new_figure(6.4, 3.6)
    axes = figure.add_subplot()
    palette = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
    for index, (name, curve) in enumerate(info.studies.items()):
        colour = palette[index % len(palette)]
        marks = curve[info.on_front[name]]
        axes.step([0, *curve[:, 0]], [0, *curve[:, 1]], where="post", color=colour, linewidth=1.5, label=name)
        axes.plot(marks[:, 0], marks[:, 1], "o", color=colour, markersize=4, markeredgecolor="white",
                  label="trial of the final front" if index == len(info.studies) - 1 else None)  # fmt: skip
    axes.set_ylim(0, 1.05)
    axes.set_xlim(left=0)
    axes.set_xlabel("Epochs trained, sum over all trials of the search")
    scale = " of log objectives" if info.logarithmic else ""
    axes.set_ylabel(f"Hypervolume{scale},\nshare of the final value")
    figure.legend(loc="outside right upper")
    return figure


def describe(info: SearchProgress) -> str:
    """The figure's caption and alt text."""
    parts = []
    for name, curve in info.studies.items():
        step = int(np.argmax(curve[:, 1] >= 0.95 * curve[-1, 1]))
        parts.append(f"{name} had 95 % of its final value after {curve[step, 0]:,.0f} of {curve[-1, 0]:,.0f} epochs")
    return "Hypervolume (dominated area) against the epochs trained: " + "; ".join(parts) + "."


if __name__ == "__main__":
    command.run_figure(info, plot, "search_progress.png")
