"""Plots the trade-off twice: with samples from N(0, I), and from the prior fitted to each trial's codes.

python -m analysis.priors --study NAME --out priors.png
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plotting import command, labels, naming, style
from study.results.choice import choose, under_fitted, with_fitted_prior
from study.results.frame import StudyFrames

_TITLES = ("Codes from N(0, I)", "Codes from the fitted prior")
_FRONT: dict[str, Any] = {"color": "#b8b8b8", "linewidth": 4, "alpha": 0.6}


class Priors(NamedTuple):
    """What the figure shows; the arrays have one entry per trial that can be on both fronts.

    Attributes:
        missing: Why there is nothing to draw, or "".
        name: Name of the study or studies.
        x_name: Column of the objective that is no score of samples.
        y_names: Columns of the score of samples, under N(0, I) and under the fitted prior.
        trial: Labels.
        method: Method names.
        x: Values.
        y: Values under both priors, [2, trials].
        fronts: Indices on each front, sorted by the first objective.
        knees: Index of the recommended trial on each front, or None.
        roles: What that trial is: `knee`, `compromise` or `best`.
    """

    missing: str
    name: str
    x_name: str
    y_names: tuple[str, str]
    trial: np.ndarray
    method: np.ndarray
    x: np.ndarray
    y: np.ndarray
    fronts: tuple[np.ndarray, np.ndarray]
    knees: tuple[int | None, int | None]
    roles: tuple[str, str]

    @property
    def stays(self) -> np.ndarray:
        """Indices on both fronts."""
        return np.intersect1d(*self.fronts)


def info(frames: StudyFrames) -> Priors:
    """Computes both fronts over the trials that measured both."""
    fitted = with_fitted_prior(frames)
    objectives = list(frames.objectives)
    sampled = [name for name in objectives if under_fitted(name) != name]
    if fitted is None or len(objectives) != 2 or len(sampled) != 1:
        why = frames.nothing("no trial has measured samples from a fitted prior")
        if len(objectives) != 2 or len(sampled) != 1:
            why = "needs two objectives, one of them a score of samples from N(0, I)"
        none = np.empty(0, np.int64)
        return Priors(why, frames.name, "", ("", ""), none, none, none, np.empty((2, 0)), (none, none), (None, None),
                      ("", ""))  # fmt: skip
    names = (sampled[0], under_fitted(sampled[0]))
    [x_name] = [name for name in objectives if name != sampled[0]]
    x, y = frames.column(x_name), np.stack([frames.column(name) for name in names])
    can = choose(frames).eligible & choose(fitted).eligible
    shown, choices = frames.keep(can), (choose(frames.keep(can)), choose(fitted.keep(can)))
    return Priors(
        missing="" if can.any() else frames.nothing("no completed trial has both scores"),
        name=frames.name,
        x_name=x_name,
        y_names=names,
        trial=shown.labels(),
        method=naming.groups(frames)[can],
        x=x[can],
        y=y[:, can],
        fronts=(choices[0].front, choices[1].front),
        knees=(choices[0].recommended, choices[1].recommended),
        roles=(choices[0].role, choices[1].role),
    )


def plot(info: Priors) -> Figure:
    """Draws both trade-offs on one scale. A trial on both fronts is ringed on both sides."""
    figure = style.new_figure(9.6, 4.4)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for which, axes in enumerate(panels):
        _draw(axes, info, which)
    for which, values in (("x", info.x), ("y", info.y)):
        if style.use_log(values.ravel(), spread=2.0):
            for axes in panels:
                style.log_axis(axes, which, values.ravel())
        for axes in panels:
            axes.margins(**{which: 0.1})
    for which, axes in enumerate(panels):
        if (knee := info.knees[which]) is not None:
            point = (float(info.x[knee]), float(info.y[which, knee]))
            labels.call_out(axes, point, f"{info.roles[which]}: trial {info.trial[knee]}")
    panels[0].set_ylabel(naming.label(info.y_names[0]))
    figure.supxlabel(naming.label(info.x_name), fontsize=9)
    figure.suptitle(f"{info.name}: the front under both priors", x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.legend(handles=_legend(info), loc="outside right upper")
    return figure


def _draw(axes: Axes, info: Priors, which: int) -> None:
    y, front, knee = info.y[which], info.fronts[which], info.knees[which]
    steps = front[np.argsort(info.x[front])]
    axes.step(info.x[steps], y[steps], where="post", zorder=1, **_FRONT)
    for method in naming.methods_in_order(info.method):
        colour, marker = style.method_style(method)
        for rows, alpha, order in ((np.setdiff1d(np.arange(len(y)), front), 0.35, 3), (front, 1.0, 5)):
            rows = rows[info.method[rows] == method]
            axes.scatter(info.x[rows], y[rows], 46, marker=marker, facecolors=colour, edgecolors="white",
                         linewidths=0.5, alpha=alpha, zorder=order)  # fmt: skip
    axes.scatter(info.x[info.stays], y[info.stays], 130, facecolors="none", edgecolors=style.GREY, linewidths=0.9,
                 zorder=4)  # fmt: skip
    if knee is not None:
        axes.scatter(info.x[knee], y[knee], 260, facecolors="none", edgecolors="black", linewidths=1.6, zorder=6)
    axes.set_title(_TITLES[which], fontsize=9)


def _legend(info: Priors) -> list[Line2D]:
    look: dict[str, Any] = {"linestyle": "", "marker": "o", "markerfacecolor": "none"}
    handles = style.method_handles(info.method)
    handles.append(Line2D([], [], label="Pareto front", **_FRONT))
    handles.append(Line2D([], [], label="on both fronts", color=style.GREY, markersize=11, **look))
    handles.append(Line2D([], [], label="recommended", color="black", markersize=14, markeredgewidth=1.6, **look))
    return handles


def describe(info: Priors) -> str:
    """The figure's caption and alt text."""
    sizes = [len(front) for front in info.fronts]
    stays = len(info.stays)
    text = (
        f"The same {naming.count(len(info.x), 'completed trial')}, with codes from N(0, I) on the left and from the "
        f"prior fitted to each trial's codes on the right. Of the {sizes[0]} on the left front, {stays} "
        f"{'is' if stays == 1 else 'are'} among the {sizes[1]} on the right one."
    )
    picked = [f"trial {info.trial[knee]} ({info.method[knee]})" for knee in info.knees if knee is not None]
    if len(picked) == 2:
        text += f" Recommended are {picked[0]} and {picked[1]}."
    return text


if __name__ == "__main__":
    command.run_figure(info, plot, "priors.png")
