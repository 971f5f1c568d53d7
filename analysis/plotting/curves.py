"""What the figures over training share: the trials that carry a name, a colour and dashes, and the rest in grey."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.plotting import style
from study.results.choice import highlights
from study.results.frame import StudyFrames

DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
BACKGROUND = 100


class Named(NamedTuple):
    """A trial with a name of its own.

    Attributes:
        row: Its row in the trials.
        label: For the legend.
        method: Its method, which is its colour.
        dashes: What tells it from others of its colour, which a method shares with its Gaussian-encoder twin.
        is_knee: It is the recommended one.
    """

    row: int
    label: str
    method: str
    dashes: Any
    is_knee: bool


def named_trials(frames: StudyFrames, rows: list[int] | None = None, at_most: int = 10) -> list[Named]:
    """The trials worth naming, the knee first; without a front, the first ones that have a history."""
    chosen = highlights(frames, at_most) if rows is None else rows[:at_most]
    knee = chosen[0] if rows is None and chosen else None
    if rows is None and not chosen:
        chosen = np.flatnonzero(frames.column("epochs_done") > 0)[:at_most].tolist()
    labels, method, regularizer = frames.labels(), frames.text("method"), frames.text("regularizer")
    weight, size = frames.column("weight"), frames.column("latent_dim")
    seen: dict[str, int] = {}
    named = []
    for row in chosen:
        name = str(method[row])
        words = f"{labels[row]}: {name} d={size[row]:.0f}"
        words += f" w={style.number(weight[row])}" if regularizer[row] != "none" else ""
        words += " (knee)" if row == knee else ""
        colour = style.method_style(name)[0]
        named.append(Named(int(row), words, name, DASHES[seen.get(colour, 0) % len(DASHES)], row == knee))
        seen[colour] = seen.get(colour, 0) + 1
    return named


def background_rows(frames: StudyFrames, named: list[Named]) -> list[int]:
    """Evenly spaced other trials, at most a hundred: more lines only make a grey block."""
    others = np.setdiff1d(np.flatnonzero(frames.column("epochs_done") > 0), [trial.row for trial in named])
    return others[:: max(1, -(-len(others) // BACKGROUND))].tolist()


def draw_named(axes: Axes, trial: Named, epochs: np.ndarray, values: np.ndarray) -> None:
    """One named trial's line; a single point gets a mark, as a line of it would not show."""
    colour, marker = style.method_style(trial.method)
    axes.plot(epochs, values, color=colour, linestyle=trial.dashes, linewidth=2.2 if trial.is_knee else 1.2,
              marker=marker if len(epochs) == 1 else "", markersize=5, zorder=3)  # fmt: skip


def named_handles(named: list[Named]) -> list[Line2D]:
    """The legend of named trials."""
    return [
        Line2D([], [], color=style.method_style(trial.method)[0], linestyle=trial.dashes, label=trial.label,
               linewidth=2.2 if trial.is_knee else 1.2)
        for trial in named
    ]  # fmt: skip
