"""The map of codes: what its figures share, and a walk through the latent space with its images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plotting import naming, style
from analysis.plotting.pictures import show, tile
from study.results.frame import StudyFrames

MOST_COLUMNS = 14
MOST_POINTS = 1_500
RADIUS = float(np.sqrt(5.991))
"""A circle with 95 % of a two-dimensional standard normal (chi-squared quantile, two degrees of freedom)."""


class Traversal(NamedTuple):
    """A walk of s steps in d dimensions.

    Attributes:
        title: Where it goes.
        trial: Whose latent space it is.
        images: Decoded on the way, uint8 [s, C, H, W].
        path: Codes, [s, d].
        codes: Codes of validation images, [n, d].
        labels: Their classes, [n].
        classes: Name of each class that is drawn; none without classes.
    """

    title: str
    trial: str
    images: np.ndarray
    path: np.ndarray
    codes: np.ndarray
    labels: np.ndarray
    classes: dict[int, str]


def class_names(frames: StudyFrames, labels: np.ndarray) -> dict[int, str]:
    """Name of each class among the labels; none if all images are of one."""
    found = np.unique(labels).tolist()
    return {int(label): naming.class_name(frames, int(label)) for label in found} if len(found) > 1 else {}


def plot_traversal(info: Traversal) -> Figure:
    """Draws the images, and the map in the two coordinates where codes vary most; the circle has 95 % of N(0, I)."""
    columns = min(MOST_COLUMNS, len(info.images))
    rows = -(-len(info.images) // columns)
    figure = style.new_figure(7.0, 4.3 + 0.5 * rows)
    above, below = figure.subplots(2, 1, height_ratios=[0.55 * rows, 4])
    show(above, tile(info.images, columns))
    above.set_title(f"{info.title}\n{info.trial}", fontsize=8.5, fontweight="normal", loc="left")
    pair = sorted(np.argsort(-info.codes.var(axis=0), kind="stable")[:2].tolist())
    codes, path = (_plane(points, pair) for points in (info.codes[:MOST_POINTS], info.path))
    labels = info.labels[:MOST_POINTS]
    for label in np.unique(labels):
        points = codes[labels == label]
        below.scatter(points[:, 0], points[:, 1], 5, color=style.class_colour(int(label)), linewidths=0, alpha=0.7)
    angle = np.linspace(0, 2 * np.pi, 100)
    below.plot(RADIUS * np.cos(angle), RADIUS * np.sin(angle), color="black", linewidth=0.8, linestyle="--")
    below.plot(path[:, 0], path[:, 1], color="black", linewidth=1.4, marker="o", markersize=4, markerfacecolor="white")
    below.plot(path[-1, 0], path[-1, 1], color="black", marker="s", markersize=7, markeredgecolor="white")
    below.set_aspect("equal", adjustable="datalim")
    below.set_xlabel(f"z{pair[0] + 1}")
    below.set_ylabel(f"z{pair[1] + 1}" if len(pair) > 1 else "")
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=4, color=style.class_colour(label), label=name)
        for label, name in list(info.classes.items())[:20]
    ]
    handles.append(style.line_handle("95 % of\nthe prior", "black", "--"))
    handles.append(
        Line2D(
            [],
            [],
            color="black",
            marker="o",
            markersize=4,
            markerfacecolor="white",
            label="the walk, to\nthe square",
        )
    )
    figure.legend(handles=handles, loc="outside right lower", fontsize=7.5)
    return figure


def _plane(points: np.ndarray, pair: list[int]) -> np.ndarray:
    """The points in two coordinates; a second one of 0 if there is one alone."""
    return points[:, pair] if len(pair) == 2 else np.column_stack([points[:, 0], np.zeros(len(points))])
