"""Plots parallel coordinates: every completed trial is a line through its parameters to its objectives.

python -m analysis.parallel --study NAME --out parallel.png
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analysis.importances import NOT_SEARCHED
from analysis.plotting import command, naming, style
from study.config import TrialConfig
from study.results.choice import choose
from study.results.frame import StudyFrames

_ABOVE_NONE = 0.12
"""Where an axis begins of which some trials have no value."""


class Coordinate(NamedTuple):
    """One vertical axis.

    Attributes:
        name: Column.
        position: Each trial's position, [trials], from 0 at the bottom to 1 at the top.
        ticks: (position, label).
    """

    name: str
    position: np.ndarray
    ticks: list[tuple[float, str]]


class Parallel(NamedTuple):
    """Completed trials and their axes.

    Attributes:
        missing: Why there is nothing to draw, or "".
        axes: Parameters that vary, then the objectives.
        method: Each trial's method, or kind (`naming.groups`), which gives the colour.
        on_front: Whether a trial is Pareto-optimal, [trials].
        recommended: Index of the recommended trial, or None.
    """

    missing: str
    axes: list[Coordinate]
    method: np.ndarray
    on_front: np.ndarray
    recommended: int | None


def info(frames: StudyFrames) -> Parallel:
    """Builds the axes: logarithmic for numbers over a wide range, evenly spaced for categories."""
    choice = choose(frames)
    drawn = frames.keep(choice.eligible)
    rows = np.flatnonzero(choice.eligible)
    named = [name for name in TrialConfig().to_params() if name not in NOT_SEARCHED]
    names = [name for name in (*named, *frames.own_parameters) if len(set(drawn.text(name))) > 1]
    return Parallel(
        missing="" if rows.size and names else frames.nothing("no two completed trials differ in a parameter"),
        axes=[coordinate(drawn, name) for name in (*names, *frames.objectives)],
        method=naming.groups(frames)[rows],
        on_front=np.isin(rows, choice.front),
        recommended=None if choice.recommended is None else int(np.searchsorted(rows, choice.recommended)),
    )


def coordinate(frames: StudyFrames, name: str) -> Coordinate:
    """Positions and ticks of a column; zero is at the bottom of a log axis, and so is a trial without a value."""
    values = frames.column(name)
    has = np.isfinite(values)
    if name in frames.own_parameters and has.any() and not has.all():
        found = coordinate(frames.keep(has), name)
        position = np.zeros(len(values))
        position[has] = _ABOVE_NONE + (1 - _ABOVE_NONE) * found.position
        ticks = [(_ABOVE_NONE + (1 - _ABOVE_NONE) * place, text) for place, text in found.ticks]
        return Coordinate(name, position, [(0.0, "none"), *ticks])
    if not frames.is_number(name):
        categories = frames.text(name)
        order = naming.methods_in_order(categories) if name == "method" else sorted(set(categories))
        places = np.linspace(0, 1, len(order)) if len(order) > 1 else np.array([0.5])
        place = dict(zip(order, places, strict=True))
        return Coordinate(name, np.array([place[c] for c in categories]), [(place[c], str(c)) for c in order])
    positive = values[values > 0]
    log = len(positive) > 0 and (values >= 0).all() and style.use_log(positive, spread=4.0)
    scaled = (
        np.log(np.maximum(values, positive.min() / 3 if (values == 0).any() else positive.min())) if log else values
    )
    low, high = (float(scaled.min()), float(scaled.max())) if len(scaled) else (0.0, 1.0)
    position = (scaled - low) / (high - low) if high > low else np.full(len(scaled), 0.5)
    distinct = np.unique(values)
    if len(distinct) > 6:
        marks = np.exp(np.linspace(low, high, 5)) if log else np.linspace(low, high, 5)
        marks = np.where(np.arange(5) == 0, distinct[0], marks)
    else:
        marks = distinct
    at = np.log(np.where(marks > 0, marks, np.exp(low))) if log else marks
    ends = (at - low) / (high - low) if high > low else np.full(len(at), 0.5)
    return Coordinate(name, position, [(float(e), naming.number(float(m))) for e, m in zip(ends, marks, strict=True)])


def plot(info: Parallel) -> Figure:
    """Draws each trial as a smooth line, the front strongly and the other trials faintly."""
    count = len(info.axes)
    figure = style.new_figure(2.2 + 1.15 * count, 3.8)
    axes = figure.add_subplot()
    across = np.linspace(0, 1, 20)
    bend = across * across * (3 - 2 * across)
    positions = np.stack([axis.position for axis in info.axes])  # [axes, trials]
    x = np.concatenate([index + across for index in range(count - 1)])
    y = np.concatenate([a + (b - a) * bend[:, None] for a, b in itertools.pairwise(positions)])
    crowd = min(1.0, 30 / len(info.method))
    for front, alpha, width, order in ((False, 0.15 + 0.35 * crowd, 0.7, 1), (True, 0.9, 1.5, 2)):
        rows = np.flatnonzero(info.on_front == front)
        lines = [np.column_stack([x, y[:, row]]) for row in rows]
        colours = [style.method_style(info.method[row])[0] for row in rows]
        axes.add_collection(LineCollection(lines, colors=colours, alpha=alpha, linewidths=width, zorder=order))
    if info.recommended is not None:
        axes.plot(x, y[:, info.recommended], color="black", linewidth=3.2, zorder=2.5)
        axes.plot(
            x, y[:, info.recommended], color=style.method_style(info.method[info.recommended])[0], linewidth=2, zorder=3
        )
    box = {"facecolor": "white", "alpha": 0.7, "pad": 0.4, "linewidth": 0}
    for index, axis in enumerate(info.axes):
        axes.axvline(index, color="#888888", linewidth=0.8, zorder=0)
        for place, text in axis.ticks:
            axes.annotate(text, (index, place), (-3, 0), textcoords="offset points", ha="right", va="center",
                          fontsize=7, bbox=box, zorder=4)  # fmt: skip
    axes.set_xlim(-0.6, count - 0.9)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xticks(
        range(count), [axis.name.replace("_", "_\n").replace("/", "/\n") for axis in info.axes], fontsize=7.5
    )
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    handles = style.method_handles(info.method)
    handles += [
        style.line_handle("faint: dominated", "#c9c9c9", "-"),
        style.line_handle("outlined: recommended", "black", "-"),
    ]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def describe(info: Parallel) -> str:
    """The figure's caption and alt text."""
    names = ", ".join(axis.name for axis in info.axes)
    return (
        f"{len(info.method)} completed trials as lines through {names}. The {int(info.on_front.sum())} on the Pareto "
        "front are drawn strongly; the recommended trial is outlined."
    )


if __name__ == "__main__":
    command.run_figure(info, plot, "parallel.png")
