"""Plots what the search got for its epochs: the front's hypervolume over all epochs, stopped trials included.

python -m analysis.search_progress --study NAME --out search_progress.png
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, style
from study.config import LOGARITHMIC
from study.results import pareto
from study.results.choice import EXTRA_ORIGINS, choose, front_of
from study.results.frame import StudyFrames


class SearchProgress(NamedTuple):
    """The front's growth, in the order in which trials ended.

    Attributes:
        missing: Why there is nothing to draw, or "".
        logarithmic: Hypervolume is taken on log objectives.
        studies: Study name -> epochs trained when each trial ended and hypervolume by then as a share of what all
            studies together reached, [trials, 2]. Replicates and longer trainings are no part of the search.
        on_front: Study name -> the steps of its curve that ended with a trial of its final front.
    """

    missing: str
    logarithmic: bool
    studies: dict[str, np.ndarray]
    on_front: dict[str, np.ndarray]


def search_progress_info(frames: StudyFrames) -> SearchProgress:
    """The reference point is that of the hypervolume on record (of several studies, the first one's).

    A study that has none yet is measured to a little beyond its worst completed trial.
    """
    choice = choose(frames)
    usable = bool(choice.front.size) and choice.values.shape[1] == 2
    if not usable:
        return SearchProgress(frames.nothing("no trial has completed with two objectives"), False, {}, {})
    scaled = np.array([name.endswith(LOGARITHMIC) for name in frames.objectives])
    values = np.where(scaled, np.log(np.maximum(choice.values, 1e-12)), choice.values)
    if (recorded := frames.study.get("hypervolume_reference")) is not None:
        reference = np.array(recorded)
    else:
        worst, best = values[choice.eligible].max(axis=0), values[choice.eligible].min(axis=0)
        reference = worst + 0.05 * np.maximum(worst - best, 1e-6)
    whole = pareto.hypervolume(values[choice.front], reference) or 1.0  # 0: all of the front lies beyond
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
    """A step per trial that ended; marks where a trial of the final front came in."""
    if info.missing:
        return style.message_figure(info.missing)
    figure = style.new_figure(6.4, 3.6)
    axes = figure.add_subplot()
    palette = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
    for index, (name, curve) in enumerate(info.studies.items()):
        colour = palette[index % len(palette)]
        marks = curve[info.on_front[name]]
        axes.step([0, *curve[:, 0]], [0, *curve[:, 1]], where="post", color=colour, linewidth=1.5, label=name)
        axes.plot(marks[:, 0], marks[:, 1], "o", color=colour, markersize=4, markeredgecolor="white",
                  label="a trial of the final front" if index == len(info.studies) - 1 else None)  # fmt: skip
    axes.set_ylim(0, 1.05)
    axes.set_xlim(left=0)
    axes.set_xlabel("Epochs trained, of all trials of the search together")
    scale = "log objectives" if info.logarithmic else "objectives"
    axes.set_ylabel(f"Dominated area ({scale}),\nshare of the final one")
    figure.legend(loc="outside right upper")
    return figure


def describe(info: SearchProgress) -> str:
    """The figure in words."""
    if info.missing:
        return info.missing
    parts = []
    for name, curve in info.studies.items():
        step = int(np.argmax(curve[:, 1] >= 0.95 * curve[-1, 1]))
        parts.append(f"{name} had 95 % of its final area after {curve[step, 0]:,.0f} of {curve[-1, 0]:,.0f} epochs")
    return "Growth of the dominated area (hypervolume) with the epochs spent: " + "; ".join(parts) + "."


if __name__ == "__main__":
    command.run_figure(search_progress_info, plot, "search_progress.png")
