"""Plots reconstruction against sampling: all trials, their fronts, real data and the knee.

python -m analysis.tradeoff --study NAME --out tradeoff.png
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plotting import command, style
from analysis.replicates import ReplicatesInfo, replicates_info
from study.results.choice import EXTRA_ORIGINS, choose, front_of
from study.results.frame import StudyFrames

DEFAULT_AXES = ("val/reconstruction_mse", "val/sample_fid")
STUDY_DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")


class TradeoffInfo(NamedTuple):
    """What the figure shows; the arrays have one entry per trial with both values finite.

    Attributes:
        missing: Why there is nothing to draw, or "".
        name: Of the study or studies.
        x_name: Metric column on the x axis (the first objective).
        y_name: Metric column on the y axis (the second).
        trial: The trials' labels, `7`, or `study/7` where there are several studies.
        x: Values.
        y: Values.
        method: Names.
        latent_dim: Sizes of z; NaN where not known.
        outcome: `completed`, `stopped`, `failed`, `running` or `interrupted`.
        origin: `reference`, `first`, `search`, `grid` or `replicate`.
        front: Indices on the overall Pareto front, sorted by the first objective.
        method_fronts: The same within each method.
        study_fronts: The same within each study; empty for a single one.
        knee: Index of the recommended trial, or None.
        replicated: The replicated trials, with means and intervals of their replicates; its `rows` are indices here.
        real_data: Real-data value of the y metric, or None: a training subset against the split, at the models' counts.
        pca: Latent size -> x value of a PCA of that size, for the sizes the trials use.
        left_out: Trials without finite values on both axes.
    """

    missing: str
    name: str
    x_name: str
    y_name: str
    trial: np.ndarray
    x: np.ndarray
    y: np.ndarray
    method: np.ndarray
    latent_dim: np.ndarray
    outcome: np.ndarray
    origin: np.ndarray
    front: np.ndarray
    method_fronts: dict[str, np.ndarray]
    study_fronts: dict[str, np.ndarray]
    knee: int | None
    replicated: ReplicatesInfo
    real_data: float | None
    pca: dict[int, float]
    left_out: int


def tradeoff_info(frames: StudyFrames) -> TradeoffInfo:
    """Selects and computes everything the figure shows; only completed trials can be on a front."""
    names = tuple(frames.objectives)[:2] if len(frames.objectives) >= 2 else DEFAULT_AXES
    raw = np.stack([frames.column(name) for name in names], axis=1)
    shown = np.asarray(np.isfinite(raw).all(axis=1))
    drawn = frames.keep(shown)
    chosen = choose(drawn, names)
    method = drawn.text("method")
    latent_dim = drawn.column("latent_dim")
    x_split, _, x_metric = names[0].rpartition("/")
    pca = frames.pca(x_split) if x_metric == "reconstruction_mse" else {}
    studies = drawn.text("study")
    names_of_studies = list(dict.fromkeys(studies.tolist()))
    sizes = sorted({int(size) for size in latent_dim[np.isfinite(latent_dim)]})
    return TradeoffInfo(
        missing="" if shown.any() else frames.nothing("no trial has both objectives"),
        name=str(frames.study.get("name", "")),
        x_name=names[0],
        y_name=names[1],
        trial=drawn.labels(),
        x=raw[shown, 0],
        y=raw[shown, 1],
        method=method,
        latent_dim=latent_dim,
        outcome=drawn.text("outcome"),
        origin=drawn.text("origin"),
        front=chosen.front,
        method_fronts={
            name: front_of(chosen.values, chosen.eligible & (method == name)) for name in style.methods_in_order(method)
        },
        study_fronts={
            name: front_of(chosen.values, chosen.eligible & (studies == name))
            for name in (names_of_studies if len(names_of_studies) > 1 else ())
        },
        knee=chosen.knee,
        replicated=replicates_info(drawn, names),
        real_data=frames.real_data(names[1]),
        pca={d: pca[d] for d in sizes if d in pca},
        left_out=int((~shown).sum()),
    )


def plot(info: TradeoffInfo) -> Figure:
    """Draws the figure; the legend stands beside the axes, so it can never cover data."""
    if info.missing:
        return style.message_figure(info.missing)
    figure = style.new_figure(8.0, 5.0)
    axes = figure.add_subplot()
    sizes = _marker_areas(info)
    _draw_trials(axes, info, sizes)
    _draw_fronts(axes, info)
    _set_axes(axes, info)
    _draw_replicates(axes, info)
    _draw_references(axes, info)
    _draw_knee(axes, info)
    axes.set_title(f"{info.name}: reconstruction against sampling", pad=26 if info.pca else 8)
    figure.legend(handles=_legend(info), loc="outside right upper")
    return figure


def _marker_areas(info: TradeoffInfo) -> np.ndarray:
    """Marker area (points²) by latent size, smaller where many trials would cover each other."""
    crowd = 1.0 if len(info.x) <= 100 else 0.45
    return crowd * _area(np.where(np.isfinite(info.latent_dim), info.latent_dim, 4.0))


def _area(latent_dim: np.ndarray | float) -> np.ndarray:
    return 14.0 + 16.0 * np.log2(np.clip(latent_dim, 1, 128))


def _draw_trials(axes: Axes, info: TradeoffInfo, areas: np.ndarray) -> None:
    best = np.isin(np.arange(len(info.x)), np.concatenate([info.front, *info.method_fronts.values()]))
    finished = info.outcome == "completed"
    drawn = ~np.isin(info.origin, EXTRA_ORIGINS)  # replicates are drawn small, around their mean
    for method in style.methods_in_order(info.method):
        colour, marker = style.method_style(method)
        of_method = (info.method == method) & drawn
        hollow = of_method & ~finished
        axes.scatter(info.x[hollow], info.y[hollow], areas[hollow], marker=marker, facecolors="none",
                     edgecolors=colour, linewidths=0.7, alpha=0.45, zorder=2)  # fmt: skip
        for rows, alpha, order in ((finished & ~best, 0.45, 3), (finished & best, 1.0, 5)):
            rows = rows & of_method
            axes.scatter(info.x[rows], info.y[rows], areas[rows], marker=marker, facecolors=colour,
                         edgecolors="white", linewidths=0.5, alpha=alpha, zorder=order)  # fmt: skip
    reference = info.origin == "reference"
    axes.scatter(info.x[reference], info.y[reference], 2 * areas[reference] + 60, marker="s", facecolors="none",
                 edgecolors=style.GREY, linewidths=0.9, zorder=5)  # fmt: skip


def _draw_replicates(axes: Axes, info: TradeoffInfo) -> None:
    """Replicates as dots, a cross over their mean's intervals, and a thread to the value the search saw.

    A few seeds can give an interval that reaches below zero, which no logarithmic axis has: it ends at the axis.
    """
    found = info.replicated
    lows = np.maximum(found.low, [axes.get_xlim()[0], axes.get_ylim()[0]])
    for index, group in enumerate(found.values):
        colour, _ = style.method_style(found.method[index])
        x, y = found.mean[index]
        axes.plot(group[:, 0], group[:, 1], ".", color=colour, markersize=3.5, alpha=0.8, zorder=4)
        axes.plot([found.search[index, 0], x], [found.search[index, 1], y], color=style.GREY, linewidth=0.8,
                  linestyle=(0, (1, 1.5)), zorder=4)  # fmt: skip
        axes.plot([lows[index, 0], found.high[index, 0]], [y, y], color=colour, linewidth=1.6, alpha=0.5, zorder=6)
        axes.plot([x, x], [lows[index, 1], found.high[index, 1]], color=colour, linewidth=1.6, alpha=0.5, zorder=6)


def _draw_fronts(axes: Axes, info: TradeoffInfo) -> None:
    """Fronts as steps: between two trials nothing better than the corner has been seen."""
    axes.step(info.x[info.front], info.y[info.front], where="post", color="#b8b8b8", linewidth=5, alpha=0.6, zorder=1,
              solid_capstyle="round")  # fmt: skip
    for dashes, front in zip(itertools.cycle(STUDY_DASHES), info.study_fronts.values()):
        axes.step(info.x[front], info.y[front], where="post", color="black", linewidth=1.1, linestyle=dashes, zorder=4)
    if len(info.method_fronts) > 1 and not info.study_fronts:  # of both there would be too many
        for method, front in info.method_fronts.items():
            axes.step(info.x[front], info.y[front], where="post", color=style.method_style(method)[0], linewidth=1.1,
                      zorder=4)  # fmt: skip


def _set_axes(axes: Axes, info: TradeoffInfo) -> None:
    reference_x = list(info.pca.values())
    reference_y = [] if info.real_data is None else [info.real_data]
    for which, values, references in (("x", info.x, reference_x), ("y", info.y, reference_y)):
        finite = np.concatenate([values, [value for value in references if style.worth_showing(values, value)]])
        log = style.use_log(finite, spread=2.0)
        low, high = float(finite.min()), float(finite.max())
        # Room to the left for half a marker, and below for words: nothing completed lies under the front.
        room = (0.04, 0.04) if which == "x" else (0.06 if values.min() > low else 0.16, 0.04)
        if log:
            low, high = low * (low / high) ** room[0], high * (high / low) ** room[1]
        else:
            width = (high - low) or abs(high) or 1.0
            low, high = low - room[0] * width, high + room[1] * width
        (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
        if log:
            style.log_axis(axes, which, np.array([low, high]))
    axes.set_xlabel(f"{style.label(info.x_name)} — lower is better")
    axes.set_ylabel(f"{style.label(info.y_name)} — lower is better")


def _draw_references(axes: Axes, info: TradeoffInfo) -> None:
    if info.real_data is not None:
        style.draw_real_data(axes, info.y, info.real_data)
    if info.pca:
        inside = {d: x for d, x in info.pca.items() if axes.get_xlim()[0] < x < axes.get_xlim()[1]}
        for x in inside.values():
            axes.axvline(x, color=style.GREY, linewidth=0.8, linestyle=":", zorder=1)
        for d, x in _apart(axes, inside).items():
            axes.annotate(f"d={d}", (x, 1), (0, 2), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                          ha="center", fontsize=7.5, color=style.GREY)  # fmt: skip
        axes.annotate("PCA of d components (dotted)", (1, 1), (0, 13), xycoords="axes fraction",
                      textcoords="offset points", ha="right", fontsize=7.5, color=style.GREY)  # fmt: skip


def _apart(axes: Axes, marks: dict[int, float]) -> dict[int, float]:
    """The marks whose labels do not run into the one before, from the left."""
    kept: dict[int, float] = {}
    left = -1.0
    for d, x in sorted(marks.items(), key=lambda mark: mark[1]):
        position = axes.transAxes.inverted().transform(axes.transData.transform((x, 1.0)))[0]
        if position - left > 0.055:
            kept[d], left = x, position
    return kept


def _draw_knee(axes: Axes, info: TradeoffInfo) -> None:
    if info.knee is None:
        return
    x, y = info.x[info.knee], info.y[info.knee]
    axes.scatter([x], [y], 240, marker="o", facecolors="none", edgecolors="black", linewidths=1.6, zorder=6)
    size = info.latent_dim[info.knee]
    words = f"{'knee' if len(info.front) > 1 else 'best'}: trial {info.trial[info.knee]}\n{info.method[info.knee]}"
    words += f", d={size:.0f}" if np.isfinite(size) else ""
    # Below and left of a front point lies no completed trial, so that is where the words go: beside the knee if they
    # fit there, else at the axis, far enough down that the front, which falls to the right, has left their height.
    from_left, from_bottom = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
    needed = 0.04 + 0.0115 * max(len(line) for line in words.splitlines())
    look: Any = {"fontsize": 8, "zorder": 7, "bbox": {"facecolor": "white", "alpha": 0.75, "pad": 0.5, "linewidth": 0},
                 "arrowprops": {"arrowstyle": "-", "linewidth": 0.8, "shrinkB": 8}}  # fmt: skip
    if from_left > needed:
        axes.annotate(words, (x, y), (-14, -14), textcoords="offset points", ha="right", va="top", **look)
    else:
        place = (0.015, max(from_bottom / 2, from_bottom - 0.25))
        axes.annotate(words, (x, y), place, textcoords="axes fraction", va="center", **look)
    for end in {int(info.front[0]), int(info.front[-1])} - {info.knee}:
        _name_end(axes, info, end)


def _name_end(axes: Axes, info: TradeoffInfo, end: int) -> None:
    """An end's name below it, or above it where another completed trial has that place; none where both are taken."""
    name = f"trial {info.trial[end]}"
    from_left = axes.transAxes.inverted().transform(axes.transData.transform((info.x[end], info.y[end])))[0]
    middle = end == info.front[0] and from_left > 0.006 * len(name)
    others = np.flatnonzero((info.outcome == "completed") & (np.arange(len(info.x)) != end))
    places = axes.transData.transform(np.stack([info.x, info.y], axis=1)) * 72 / axes.figure.dpi
    right, up = (places[others] - places[end]).T  # in points, as all that follows
    radius = np.where(others == info.knee, 10.0, 5.0)  # of the ring, of a marker
    width, height = 4.0 * len(name), 10.0
    beside = np.abs(right - (0.0 if middle else width / 2)) < width / 2 + radius
    for offset, side, centre in ((-8, "top", -8 - height / 2), (10, "bottom", 10 + height / 2)):
        if not (beside & (np.abs(up - centre) < height / 2 + radius)).any():
            axes.annotate(name, (info.x[end], info.y[end]), (0, offset), textcoords="offset points",
                          ha="center" if middle else "left", va=side, fontsize=7.5, color=style.GREY, zorder=7,
                          bbox={"facecolor": "white", "alpha": 0.6, "pad": 0.3, "linewidth": 0})  # fmt: skip
            return


def _legend(info: TradeoffInfo) -> list[Line2D]:
    def mark(name: str, marker: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, label=name, **look)

    handles = []
    for method in style.methods_in_order(info.method):
        colour, marker = style.method_style(method)
        count = int(((info.method == method) & ~np.isin(info.origin, EXTRA_ORIGINS)).sum())
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=6, linewidth=1.1,
                              label=f"{method} ({count})"))  # fmt: skip
    handles.append(Line2D([], [], color="#b8b8b8", linewidth=5, alpha=0.6, label="Pareto front of all"))
    for dashes, name in zip(itertools.cycle(STUDY_DASHES), info.study_fronts):
        handles.append(style.line_handle(f"front of {name}", "black", dashes))
    if (info.origin == "reference").any():
        handles.append(mark("reference point", "s", color=style.GREY, markerfacecolor="none", markersize=11))
    unfinished = (info.outcome != "completed") & ~np.isin(info.origin, EXTRA_ORIGINS)
    if unfinished.any():
        states = ", ".join(sorted(set(info.outcome[unfinished])))
        words = f"{states} ({int(unfinished.sum())})"
        handles.append(mark(words, "o", color=style.GREY, markerfacecolor="none", alpha=0.6))
    if info.replicated.values:
        handles.append(mark("replicate, fresh seed", ".", color=style.GREY, markersize=4))
        handles.append(mark("their mean, 95 % intervals", "+", color=style.GREY, markersize=10, markeredgewidth=1.4))
    known = np.unique(info.latent_dim[np.isfinite(info.latent_dim)])
    if known.size > 1:
        handles.append(mark("size: latent size d", "", color="none"))
        for d in dict.fromkeys([known[0], known[known.size // 2], known[-1]]):
            handles.append(mark(f"d = {d:.0f}", "o", color=style.GREY, markersize=float(np.sqrt(_area(d)))))
    return handles


def describe(info: TradeoffInfo) -> str:
    """The figure in words, for its caption and its alt text."""
    if info.missing:
        return info.missing
    count, best = int((~np.isin(info.origin, EXTRA_ORIGINS)).sum()), len(info.front)
    text = f"{style.count(count)} by reconstruction error and sample quality"
    if count < len(info.x):
        text += f", and {len(info.x) - count} beyond the search (replicates, longer trainings)"
    text += f"; {best} {'is' if best == 1 else 'are'} Pareto-optimal."
    if info.knee is not None:
        x, y = style.number(info.x[info.knee]), style.number(info.y[info.knee])
        text += f" The {'knee' if best > 1 else 'best'} is trial {info.trial[info.knee]}"
        text += f" ({info.method[info.knee]}) at {x} and {y}."
    if info.real_data is not None:
        text += f" Real training images reach {style.number(info.real_data)} on the vertical axis."
    if info.left_out:
        text += f" {info.left_out} more {'trial has' if info.left_out == 1 else 'trials have'} no values to show."
    return text


if __name__ == "__main__":
    command.run_figure(tradeoff_info, plot, "tradeoff.png")
