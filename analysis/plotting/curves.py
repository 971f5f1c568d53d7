"""What the figures over epochs share: some named trials in colour, the others in grey behind them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.plotting import naming, style
from study.results.choice import highlights
from study.results.frame import StudyFrames

DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
BACKGROUND = 100
Line = tuple[np.ndarray, np.ndarray]
"""Epochs and values of a trial's curve."""


class Named(NamedTuple):
    """A trial that the legend names.

    Attributes:
        row: Its row in the trials.
        label: Its legend entry.
        method: Its method, which gives the colour.
        dashes: Its line style, different for each trial of one colour.
        is_knee: Whether it is the recommended trial.
    """

    row: int
    label: str
    method: str
    dashes: Any
    is_knee: bool


def named_trials(frames: StudyFrames, at_most: int = 10) -> list[Named]:
    """The most important trials, the knee first; without a front, the first trials that have a history."""
    chosen = highlights(frames, at_most)
    knee = chosen[0] if chosen else None
    if not chosen:
        chosen = np.flatnonzero(frames.column("epochs_done") > 0)[:at_most].tolist()
    labels, methods = frames.labels(), frames.text("method")
    seen: dict[str, int] = {}
    named = []
    for row in chosen:
        method = str(methods[row])
        label = f"{labels[row]}: {naming.configuration(frames, row)}{' (recommended)' if row == knee else ''}"
        colour = style.method_style(method)[0]
        named.append(Named(int(row), label, method, DASHES[seen.get(colour, 0) % len(DASHES)], row == knee))
        seen[colour] = seen.get(colour, 0) + 1
    return named


def background_rows(frames: StudyFrames, named: list[Named]) -> list[int]:
    """Other trials, evenly spaced, at most a hundred: more lines would only make a grey block."""
    others = np.setdiff1d(np.flatnonzero(frames.column("epochs_done") > 0), [trial.row for trial in named])
    return others[:: max(1, -(-len(others) // BACKGROUND))].tolist()


def draw_named(axes: Axes, trial: Named, epochs: np.ndarray, values: np.ndarray) -> None:
    """Draws a named trial's line, or a marker if it has a single point."""
    colour, marker = style.method_style(trial.method)
    axes.plot(epochs, values, color=colour, linestyle=trial.dashes, linewidth=2.2 if trial.is_knee else 1.2,
              marker=marker if len(epochs) == 1 else "", markersize=5, zorder=3)  # fmt: skip


def epoch_axis(axes: Axes) -> None:
    """Labels the x axis as epochs, with ticks at whole numbers."""
    axes.set_xlabel("Epoch")
    locator: Any = axes.xaxis.get_major_locator()
    locator.set_params(integer=True)


def named_handles(named: list[Named]) -> list[Line2D]:
    """The legend entries of named trials."""
    return [
        Line2D([], [], color=style.method_style(trial.method)[0], linestyle=trial.dashes, label=trial.label,
               linewidth=2.2 if trial.is_knee else 1.2)
        for trial in named
    ]  # fmt: skip
