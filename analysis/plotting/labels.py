"""Places text in a figure where it covers no data."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from analysis.plotting import style

_KNEE_RADIUS, _MARKER_RADIUS = 10.0, 5.0  # in points


def label_lines(axes: Axes, lines: dict[str, float]) -> None:
    """Labels vertical lines (label -> x) above the axes; skips a label that would touch its left neighbour."""
    left = -1.0
    for text, x in sorted(lines.items(), key=lambda line: line[1]):
        position = axes.transAxes.inverted().transform(axes.transData.transform((x, 1.0)))[0]
        if position - left > 0.055:
            axes.annotate(text, (x, 1), (0, 2), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                          ha="center", fontsize=7.5, color=style.GREY)  # fmt: skip
            left = position


def call_out(axes: Axes, point: tuple[float, float], text: str) -> Text:
    """Labels a Pareto-optimal point below and to its left, where no completed trial can be.

    If there is no room on the left, the text goes to the axis, low enough that the front, which falls to the right,
    has passed below it.

    Returns:
        The label.
    """
    from_left, from_bottom = _in_axes(axes, point)
    look: dict[str, Any] = {
        "fontsize": 8,
        "zorder": 7,
        "bbox": {"facecolor": "white", "alpha": 0.75, "pad": 0.5, "linewidth": 0},
        "arrowprops": {"arrowstyle": "-", "linewidth": 0.8, "shrinkB": 8},
    }
    if from_left > 0.04 + 0.0115 * max(len(line) for line in text.splitlines()):
        return axes.annotate(text, point, (-14, -14), textcoords="offset points", ha="right", va="top", **look)
    place = (0.015, max(from_bottom / 2, from_bottom - 0.25))
    return axes.annotate(text, point, place, textcoords="axes fraction", va="center", **look)


def label_end(
    axes: Axes,
    text: str,
    points: np.ndarray,
    end: int,
    *,
    obstacles: np.ndarray,
    knee: int,
    taken: Text,
    is_left_end: bool,
) -> None:
    """Labels one end of a front below its point, or above if another point is there; not at all if both are taken.

    Args:
        axes: With their final limits.
        text: The label.
        points: Data coordinates of all points, [n, 2].
        end: Index of the point to label.
        obstacles: Indices of the points that the label must not cover.
        knee: Index of the point drawn with a ring, which is larger.
        taken: Another label, which it must not touch.
        is_left_end: Centre the text on the point if there is room to its left; otherwise it begins at the point.
    """
    centred = is_left_end and _in_axes(axes, points[end])[0] > 0.006 * len(text)
    obstacles = obstacles[obstacles != end]
    places = axes.transData.transform(points) * 72 / axes.figure.dpi
    right, up = (places[obstacles] - places[end]).T  # in points, as all that follows
    radius = np.where(obstacles == knee, _KNEE_RADIUS, _MARKER_RADIUS)
    width, height = 4.0 * len(text), 10.0
    beside = np.abs(right - (0.0 if centred else width / 2)) < width / 2 + radius
    for offset, side, centre in ((-8, "top", -8 - height / 2), (10, "bottom", 10 + height / 2)):
        if not (beside & (np.abs(up - centre) < height / 2 + radius)).any():
            label = axes.annotate(text, points[end], (0, offset), textcoords="offset points",
                                  ha="center" if centred else "left", va=side, fontsize=7.5, color=style.GREY, zorder=7,
                                  bbox={"facecolor": "white", "alpha": 0.6, "pad": 0.3, "linewidth": 0})  # fmt: skip
            if not _extent(label).overlaps(_extent(taken)):
                return
            label.remove()


def move_aside(axes: Axes, label: Annotation) -> None:
    """Moves the label at the right end of a horizontal line to the left end if it touches another text there, or below
    the line; it stays if all of these are taken.

    Args:
        axes: With their final limits and all other labels.
        label: Drawn with an offset above the line, in points.
    """
    others = [_extent(text) for text in axes.texts if text is not label and text.get_text()]
    (_, height), (right, above) = label.xy, label.xyann
    for x, side, y, anchor in (
        (1.0, "right", above, "baseline"),
        (0.0, "left", above, "baseline"),
        (1.0, "right", -above, "top"),
        (0.0, "left", -above, "top"),
        (1.0, "right", above, "baseline"),
    ):
        label.xy, label.xyann = (x, height), (right if x else -right, y)
        label.set(ha=side, va=anchor)
        if not any(_extent(label).overlaps(other) for other in others):
            return


def _extent(label: Text) -> Bbox:
    """Where the text of a label is, without its arrow."""
    label.get_window_extent()  # an annotation then knows where it is
    return Text.get_window_extent(label)


def _in_axes(axes: Axes, point: Any) -> np.ndarray:
    """A data point as fractions of the axes' width and height, [2]."""
    return axes.transAxes.inverted().transform(axes.transData.transform(point))
