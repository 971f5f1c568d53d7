"""The trade-off as text: every trial by error and score of its samples, its front marked, on the report's axes."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

from study.config import EXTRA_ORIGINS
from study.measure.metrics import METRICS, metric_name
from study.results.axes import use_log, worth_showing
from study.results.choice import Choice, front_of
from study.results.frame import StudyFrames

FRONT, COMPLETED, OTHER = "●", "○", "·"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ROOM = 0.04
"""Share of an axis that is left free at each end."""


class Points(NamedTuple):
    """What the plot shows; the arrays have one entry for each trial of the search that has both objectives.

    Attributes:
        x_name: The first objective.
        y_name: The second.
        x: Its values in the last epoch.
        y: Values of the second.
        completed: Whether the trial was trained to its end, boolean.
        front: Whether it is Pareto-optimal, boolean.
        real_data: The real-data baseline of the second, or None.
        reaches: Whether the axis reaches to it without squeezing the trials.
    """

    x_name: str
    y_name: str
    x: np.ndarray
    y: np.ndarray
    completed: np.ndarray
    front: np.ndarray
    real_data: float | None
    reaches: bool


def points(frames: StudyFrames, choice: Choice) -> Points | None:
    """What the plot shows; None if the study has one objective or no trial with both yet.

    Args:
        frames: The study.
        choice: What `choose` found in it.
    """
    names = list(frames.objectives)[:2]
    if len(names) < 2:
        return None
    values = np.stack([frames.column(name) for name in names], axis=1)
    searched = ~frames.trials["origin"].isin(EXTRA_ORIGINS).to_numpy()
    shown = np.asarray(np.isfinite(values).all(axis=1) & searched)
    if not shown.any():
        return None
    front = np.isin(np.arange(len(shown)), front_of(choice.values[:, :2], choice.eligible))
    x, y = values[shown].T
    real_data = frames.real_data(names[1])
    return Points(
        x_name=names[0],
        y_name=names[1],
        x=x,
        y=y,
        completed=frames.text("outcome")[shown] == "completed",
        front=front[shown],
        real_data=real_data,
        reaches=real_data is not None and worth_showing(y, real_data),
    )


class Axis(NamedTuple):
    """One axis.

    Attributes:
        log: Whether it is logarithmic.
        low: Where it begins, in the unit that is drawn: the value or its decimal logarithm.
        high: Where it ends.
        ticks: Values that it names.
    """

    log: bool
    low: float
    high: float
    ticks: list[float]

    def place(self, values: np.ndarray | float) -> np.ndarray:
        """Where values are drawn."""
        return np.log10(values) if self.log else np.asarray(values, dtype=np.float64)


def axis(shown: np.ndarray, most_ticks: int) -> Axis:
    """An axis that shows all these values, logarithmic where the report's figure is."""
    log = use_log(shown, spread=2.0)
    ends = np.log10(shown) if log else shown
    low, high = float(ends.min()), float(ends.max())
    room = _ROOM * ((high - low) or abs(high) or 1.0)
    low, high = low - room, high + room
    choices = _log_ticks(low, high) if log else _even_ticks(low, high)
    fitting = next((ticks for ticks in choices if len(ticks) <= most_ticks), [])
    return Axis(log, low, high, fitting)


def _log_ticks(low: float, high: float) -> list[list[float]]:
    """Round values between two decimal logarithms, the longest list first."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    steps = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))
    found = [[step * 10.0**power for power in powers for step in each] for each in steps]
    found += [[10.0**power for power in powers[::apart]] for apart in (2, 3, 5, 10)]
    return [[value for value in values if low <= math.log10(value) <= high] for values in found]


def _even_ticks(low: float, high: float) -> list[list[float]]:
    """Multiples of a round step between two values, the longest list first."""
    power = math.floor(math.log10(high - low)) - 1
    steps = [step * 10.0**exponent for exponent in (power, power + 1) for step in (1, 2, 5)]
    return [[step * count for count in range(math.ceil(low / step), math.floor(high / step) + 1)] for step in steps]


def draw(found: Points, width: int, height: int) -> list[str]:
    """The plot as lines of text without colours, `width` columns wide and `height` lines high."""
    import plotext

    baseline = [found.real_data] if found.real_data is not None and found.reaches else []
    x_axis, y_axis = axis(found.x, max(2, width // 12)), axis(np.append(found.y, baseline), max(2, height // 3))
    plotext.terminal.limit(False, False)  # the size is given, also where no terminal is
    figure = plotext.figure
    figure.clear.all()
    figure.plot_size(width, height - 2)
    figure.theme("colorless")
    for value in baseline:
        figure.line(float(y_axis.place(value)), orientation=0, style="dotted")
    groups = ((~found.completed, OTHER), (found.completed & ~found.front, COMPLETED), (found.front, FRONT))
    for rows, marker in groups:  # the front last, so that nothing hides it
        if rows.any():
            x, y = x_axis.place(found.x[rows]).tolist(), y_axis.place(found.y[rows]).tolist()
            figure.draw(figure.signal(x, y, marker=marker))
    for name, side in (("x", x_axis), ("y", y_axis)):
        ruler = figure.ruler(name)
        ruler.lim(side.low, side.high)
        ruler.ticks(side.place(np.array(side.ticks)).tolist(), [f"{value:g}" for value in side.ticks])
    drawn = _COLOURS.sub("", str(figure.build())).splitlines()
    return [_label("↑", found.y_name, y_axis), *drawn, f"{_label('→', found.x_name, x_axis):>{width}}"]


def _label(arrow: str, name: str, side: Axis) -> str:
    metric = METRICS.get(metric_name(name))
    text = metric.label if metric is not None and metric.label else metric_name(name)
    return f"{arrow} {text}{' (log)' if side.log else ''}"


def legend(found: Points) -> str:
    """What the marks mean, one line."""
    marks = [(found.front, f"{FRONT} front"), (found.completed & ~found.front, f"{COMPLETED} completed")]
    marks.append((~found.completed, f"{OTHER} stopped or running"))
    parts = [text for rows, text in marks if rows.any()]
    if found.real_data is not None:
        parts.append(f"{'┈' if found.reaches else '↓'} real data {found.real_data:.3g}")
    return "  ".join(parts)
