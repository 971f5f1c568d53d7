"""Plots codes of validation images by class beside draws from the prior: the plane for d=2, all pairs for d=3.

python -m analysis.latent_scatter --study NAME --out latent_scatter.png
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plotting import command, naming, style
from analysis.plotting.code_map import MOST_POINTS, RADIUS
from analysis.plotting.pictures import NO_PICTURES, Representative, representatives
from study.results.frame import StudyFrames

MOST_DIMENSIONS = 3
MOST_PANELS = 15
COLLAPSED = 0.03
"""Codes with a smaller standard deviation in both coordinates are called one point: the prior's is 1."""


class Panel(NamedTuple):
    """A scatter plot of two coordinates.

    Attributes:
        title: Trial and coordinates.
        points: [n, 2].
        labels: Class numbers [n], -1 for draws from the prior; all 0 without classes.
        path: Codes along the first interpolation, [steps, 2]; empty in the prior's panel.
    """

    title: str
    points: np.ndarray
    labels: np.ndarray
    path: np.ndarray


class LatentScatter(NamedTuple):
    """The prior's panel, then those of the trials.

    Attributes:
        missing: Why there is nothing to draw, or "".
        panels: In reading order.
        classes: Name of each class of the images, in order; none if all images are of one.
    """

    missing: str
    panels: list[Panel]
    classes: dict[int, str]


def info(frames: StudyFrames, trials: Sequence[str] = ()) -> LatentScatter:
    """Takes each method at every latent size up to three; a method without one at its smallest size. Or the `trials`.

    Larger sizes are drawn by the two coordinates with the largest variance. Small sizes come first, so that panels
    beyond the limit are large sizes.
    """
    found = representatives(frames, "codes", trials=trials) if trials else _smallest(frames)
    if not found:
        return LatentScatter(frames.nothing(NO_PICTURES), [], {})
    count = min(MOST_POINTS, max(len(trial.arrays["codes"]) for trial in found))
    prior = np.random.default_rng(0).standard_normal((count, 2))
    panels = [Panel("N(0, I), the prior", prior, np.full(count, -1), np.empty((0, 2)))]
    for trial in found:
        path = interpolated_codes(trial)
        codes, labels = trial.arrays["codes"][:MOST_POINTS], trial.arrays["labels"][:MOST_POINTS]
        for pair in coordinate_pairs(codes):
            shown, steps = (
                points[:, pair] if len(pair) == 2 else np.column_stack([points[:, 0], np.zeros(len(points))])
                for points in (codes, path)
            )
            axes = "" if codes.shape[1] <= 2 else f", z{pair[0] + 1} and z{pair[1] + 1}"
            which = f"trial {trial.trial}, " if trials else ""
            kind, _, size = trial.text.partition(", d=")
            panels.append(Panel(f"{kind}\n{which}d={size}{axes}", shown, labels, steps))
    panels = panels[:MOST_PANELS]
    return LatentScatter("", panels, {label: naming.class_name(frames, label) for label in _classes(panels)})


def _smallest(frames: StudyFrames) -> list[Representative]:
    """Each method at every latent size up to three, or at its smallest size, by size."""
    found = representatives(frames.keep(frames.column("latent_dim") <= MOST_DIMENSIONS), "codes")
    methods = {trial.method for trial in found}
    for trial in representatives(frames, "codes"):
        if trial.method not in methods:
            methods.add(trial.method)
            found.append(trial)
    return sorted(found, key=lambda trial: trial.latent_dim)


def interpolated_codes(trial: Representative) -> np.ndarray:
    """Codes [steps, d] that the first row of `interpolations` was decoded from; empty without such a row.

    With n pairs, pair i joins validation images i and n + i by a straight line between their codes.
    """
    codes, pictures = trial.arrays["codes"], trial.arrays.get("interpolations", np.empty((0, 0)))
    if not 0 < len(pictures) < len(codes):
        return np.empty((0, codes.shape[1]))
    return np.linspace(codes[0], codes[len(pictures)], pictures.shape[1])


def coordinate_pairs(codes: np.ndarray) -> list[list[int]]:
    """The coordinates of codes [n, d] to draw: all pairs up to d=3, else the two with the largest variance."""
    size = codes.shape[1]
    if size == 1:
        return [[0]]
    if size <= 3:
        return [list(pair) for pair in itertools.combinations(range(size), 2)]
    return [sorted(np.argsort(-codes.var(axis=0), kind="stable")[:2].tolist())]


def _classes(panels: Sequence[Panel]) -> list[int]:
    classes = sorted({int(label) for panel in panels for label in np.unique(panel.labels) if label >= 0})
    return classes if len(classes) > 1 else []


def plot(info: LatentScatter) -> Figure:
    """Draws small panels, each with the circle that contains 95 % of the prior and with its own scale."""
    columns = min(4, len(info.panels))
    rows = -(-len(info.panels) // columns)
    figure = style.new_figure(0.9 + 2.1 * columns, 0.2 + 2.3 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    angle = np.linspace(0, 2 * np.pi, 100)
    for axes, panel in itertools.zip_longest(grid.flat, info.panels):
        if panel is None:
            axes.set_axis_off()
            continue
        for label in np.unique(panel.labels):
            points = panel.points[panel.labels == label]
            axes.scatter(points[:, 0], points[:, 1], 4, color=style.class_colour(int(label)), linewidths=0, alpha=0.7,
                         rasterized=True)  # fmt: skip
        axes.plot(panel.path[:, 0], panel.path[:, 1], color="black", linewidth=1.2, marker="o", markersize=3,
                  markerfacecolor="white", markeredgewidth=0.8, zorder=3)  # fmt: skip
        axes.plot(RADIUS * np.cos(angle), RADIUS * np.sin(angle), color="black", linewidth=0.8, linestyle="--")
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(panel.title, fontsize=8, fontweight="normal")
        axes.tick_params(labelsize=6.5)
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=4, color=style.class_colour(label), label=name)
        for label, name in list(info.classes.items())[:20]
    ]
    handles.append(style.line_handle("95 % of\nthe prior", "black", "--"))
    if any(len(panel.path) for panel in info.panels):
        handles.append(Line2D([], [], color="black", marker="o", markersize=3, markerfacecolor="white",
                              label="path of the first\ninterpolation"))  # fmt: skip
    figure.legend(handles=handles, loc="outside right upper", fontsize=7.5)
    return figure


def describe(info: LatentScatter) -> str:
    """The figure's caption and alt text."""
    shares = []
    for panel in info.panels[1:]:
        inside = np.hypot(panel.points[:, 0], panel.points[:, 1]) <= RADIUS
        share = f"{100 * inside.mean():.0f} %"
        if panel.points.std(axis=0).max() < COLLAPSED:
            share = "collapsed, all codes are nearly the same point"
        shares.append(f"{' '.join(panel.title.split())}: {share}")
    coloured = " coloured by class" if info.classes else ""
    return (
        f"Posterior means of validation images{coloured}, beside draws from the prior; the circle contains 95 % "
        f"of the prior. Share of codes inside it: {'; '.join(shares)}."
    )


if __name__ == "__main__":
    command.run_figure(info, plot, "latent_scatter.png")
