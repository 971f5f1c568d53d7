"""Plots reconstruction against sampling: all trials, their fronts, real data and the recommended trial.

python -m analysis.tradeoff --study NAME --out tradeoff.png
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from analysis import replicates
from analysis.plotting import command, labels, naming, style
from study.config import EXTRA_ORIGINS
from study.results.choice import choose, front_of
from study.results.frame import StudyFrames

DEFAULT_AXES = ("val/reconstruction_mse", "val/sample_fid")
STUDY_DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
_FRONT: dict[str, Any] = {"color": "#b8b8b8", "linewidth": 5, "alpha": 0.6}


class Tradeoff(NamedTuple):
    """What the figure shows; the arrays have one entry per trial with finite values on both axes.

    Attributes:
        missing: Why there is nothing to draw, or "".
        name: Name of the study or studies.
        x_name: Metric column on the x axis (the first objective).
        y_name: Metric column on the y axis (the second).
        trial: Labels: `7`, or `study/7` if there are several studies.
        x: Values.
        y: Values.
        method: Method names; kinds of models if all trials are of one method, see `naming.groups`.
        latent_dim: Latent sizes; NaN if unknown.
        outcome: `completed`, `stopped`, `failed`, `running` or `interrupted`.
        origin: Where each trial came from; `reference` is a baseline trial.
        front: Indices on the overall Pareto front, sorted by the first objective.
        method_fronts: The front within each method.
        study_fronts: The front within each study; empty for a single study.
        recommended: Index of the recommended trial, or None.
        role: What that trial is: `knee`, `compromise` or `best`.
        replicated: The replicated trials with their means and intervals; its `rows` are indices here.
        real_data: Real-data baseline of the y metric, or None.
        pca: Latent size -> x value of a PCA of that size, for the sizes the trials use.
        left_out: Number of trials without finite values on both axes.
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
    recommended: int | None
    role: str
    replicated: replicates.Replicates
    real_data: float | None
    pca: dict[int, float]
    left_out: int

    @property
    def searched(self) -> np.ndarray:
        """Whether a trial belongs to the search, not to the replicates and retrainings after it, boolean [trials]."""
        return ~np.isin(self.origin, EXTRA_ORIGINS)


def info(frames: StudyFrames) -> Tradeoff:
    """Computes everything the figure shows; only completed trials can be on a front."""
    names = tuple(frames.objectives)[:2] if len(frames.objectives) >= 2 else DEFAULT_AXES
    values = np.stack([frames.column(name) for name in names], axis=1)
    shown = np.asarray(np.isfinite(values).all(axis=1))
    drawn = frames.keep(shown)
    chosen = choose(drawn, names)
    method, study, latent_dim = naming.groups(frames)[shown], drawn.text("study"), drawn.column("latent_dim")
    studies = list(dict.fromkeys(study.tolist()))
    x_split, _, x_metric = names[0].rpartition("/")
    pca = frames.pca(x_split) if x_metric == "reconstruction_mse" else {}

    def fronts(groups: list[str], group: np.ndarray) -> dict[str, np.ndarray]:
        return {name: front_of(chosen.values, chosen.eligible & (group == name)) for name in groups}

    return Tradeoff(
        missing="" if shown.any() else frames.nothing("no trial has both objectives"),
        name=frames.name,
        x_name=names[0],
        y_name=names[1],
        trial=drawn.labels(),
        x=values[shown, 0],
        y=values[shown, 1],
        method=method,
        latent_dim=latent_dim,
        outcome=drawn.text("outcome"),
        origin=drawn.text("origin"),
        front=chosen.front,
        method_fronts=fronts(naming.methods_in_order(method), method),
        study_fronts=fronts(studies if len(studies) > 1 else [], study),
        recommended=chosen.recommended,
        role=chosen.role,
        replicated=replicates.info(drawn, names),
        real_data=frames.real_data(names[1]),
        pca={int(d): pca[d] for d in np.unique(latent_dim[np.isfinite(latent_dim)]) if d in pca},
        left_out=int((~shown).sum()),
    )


def plot(info: Tradeoff) -> Figure:
    """Draws the figure; the legend is beside the axes, so that it covers no data."""
    figure = style.new_figure(8.0, 5.0)
    axes = figure.add_subplot()
    _draw_trials(axes, info)
    _draw_fronts(axes, info)
    _set_axes(axes, info)
    _draw_replicates(axes, info)
    real_data = _draw_baselines(axes, info)
    axes.set_title(f"{info.name}: reconstruction against sampling", pad=26 if info.pca else 8)
    figure.legend(handles=_legend(info), loc="outside right upper")
    if info.recommended is not None:
        figure.draw_without_rendering()  # from now on the axes have their size, on which labels depend
        _label_front(axes, info, info.recommended)
        if real_data is not None:
            labels.move_aside(axes, real_data)
    return figure


def _area(latent_dim: np.ndarray | float, sizes: np.ndarray) -> np.ndarray:
    """Marker area in points², by latent size: up to 128 the same in all studies, else the largest like 128."""
    scale = 128.0 / max(128.0, np.nanmax(sizes, initial=1.0))
    return 14.0 + 16.0 * np.log2(np.clip(latent_dim * scale, 1, 128))


def _draw_trials(axes: Axes, info: Tradeoff) -> None:
    crowd = 1.0 if len(info.x) <= 100 else 0.45  # smaller markers, so that many trials do not hide each other
    areas = crowd * _area(np.where(np.isfinite(info.latent_dim), info.latent_dim, 4.0), info.latent_dim)
    fronts = (*info.method_fronts.values(), *info.study_fronts.values())
    best = np.isin(np.arange(len(info.x)), np.concatenate([info.front, *fronts]))
    completed = info.outcome == "completed"
    for method in naming.methods_in_order(info.method):
        colour, marker = style.method_style(method)
        of_method = (info.method == method) & info.searched  # replicates are drawn around their mean
        hollow = of_method & ~completed
        axes.scatter(info.x[hollow], info.y[hollow], areas[hollow], marker=marker, facecolors="none",
                     edgecolors=colour, linewidths=0.7, alpha=0.45, zorder=2)  # fmt: skip
        for rows, alpha, order in ((completed & ~best, 0.45, 3), (completed & best, 1.0, 5)):
            rows = rows & of_method
            axes.scatter(info.x[rows], info.y[rows], areas[rows], marker=marker, facecolors=colour,
                         edgecolors="white", linewidths=0.5, alpha=alpha, zorder=order)  # fmt: skip
    baseline = info.origin == "reference"
    axes.scatter(info.x[baseline], info.y[baseline], 2 * areas[baseline] + 60, marker="s", facecolors="none",
                 edgecolors=style.GREY, linewidths=0.9, zorder=5)  # fmt: skip


def _draw_fronts(axes: Axes, info: Tradeoff) -> None:
    """Draws fronts as steps: between two trials, nothing better than the corner has been seen."""

    def step(front: np.ndarray, order: float, **look: Any) -> None:
        axes.step(info.x[front], info.y[front], where="post", zorder=order, **look)

    step(info.front, 1, solid_capstyle="round", **_FRONT)
    for dashes, front in zip(itertools.cycle(STUDY_DASHES), info.study_fronts.values()):
        step(front, 4, color="black", linewidth=1.1, linestyle=dashes)
    if len(info.method_fronts) > 1 and not info.study_fronts:  # both would be too many lines
        for method, front in info.method_fronts.items():
            step(front, 4, color=style.method_style(method)[0], linewidth=1.1)


def _set_axes(axes: Axes, info: Tradeoff) -> None:
    baselines_y = [] if info.real_data is None else [info.real_data]
    for which, values, baselines in (("x", info.x, list(info.pca.values())), ("y", info.y, baselines_y)):
        shown = np.concatenate([values, [value for value in baselines if style.worth_showing(values, value)]])
        log = style.use_log(shown, spread=2.0)
        low, high = float(shown.min()), float(shown.max())
        # Room below for text: no completed trial lies under the front.
        room = 0.04 if which == "x" else 0.06 if values.min() > low else 0.16
        if log:
            low, high = low * (low / high) ** room, high * (high / low) ** 0.04
        else:
            width = (high - low) or abs(high) or 1.0
            low, high = low - room * width, high + 0.04 * width
        (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
        if log:
            style.log_axis(axes, which, np.array([low, high]))
    axes.set_xlabel(f"{naming.label(info.x_name)} — lower is better")
    axes.set_ylabel(f"{naming.label(info.y_name)} — lower is better")


def _draw_replicates(axes: Axes, info: Tradeoff) -> None:
    """Draws replicates as dots, their mean's intervals as a cross, and a dotted line to the value from the search.

    With few seeds an interval can reach below zero, which a log axis cannot show: it ends at the axis.
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


def _draw_baselines(axes: Axes, info: Tradeoff) -> Annotation | None:
    """Draws PCA's errors and the real-data baseline; returns the label of that."""
    label = None if info.real_data is None else style.draw_real_data(axes, info.y, info.real_data)
    if info.pca:
        low, high = axes.get_xlim()
        inside = {f"d={d}": x for d, x in info.pca.items() if low < x < high}
        for x in inside.values():
            axes.axvline(x, color=style.GREY, linewidth=0.8, linestyle=":", zorder=1)
        labels.label_lines(axes, inside)
        axes.annotate("dotted: PCA with d components", (1, 1), (0, 13), xycoords="axes fraction",
                      textcoords="offset points", ha="right", fontsize=7.5, color=style.GREY)  # fmt: skip
    return label


def _label_front(axes: Axes, info: Tradeoff, knee: int) -> None:
    """Rings and names the recommended trial, and names both ends of the front."""
    point = (info.x[knee], info.y[knee])
    axes.scatter(*point, 240, marker="o", facecolors="none", edgecolors="black", linewidths=1.6, zorder=6)
    size = f", d={info.latent_dim[knee]:.0f}" if np.isfinite(info.latent_dim[knee]) else ""
    taken = labels.call_out(axes, point, f"{info.role}: trial {info.trial[knee]}\n{info.method[knee]}{size}")
    points, completed = np.stack([info.x, info.y], axis=1), np.flatnonzero(info.outcome == "completed")
    for end in {int(info.front[0]), int(info.front[-1])} - {knee}:
        labels.label_end(axes, f"trial {info.trial[end]}", points, end, obstacles=completed, knee=knee,
                         taken=taken, is_left_end=end == info.front[0])  # fmt: skip


def _legend(info: Tradeoff) -> list[Line2D]:
    def mark(name: str, marker: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, label=name, **{"color": style.GREY, **look})

    handles = style.method_handles(info.method)
    for handle in handles:
        method = handle.get_label()
        handle.set_label(f"{method} ({int(((info.method == method) & info.searched).sum())})")
    handles.append(Line2D([], [], label="Pareto front of all", **_FRONT))
    for dashes, name in zip(itertools.cycle(STUDY_DASHES), info.study_fronts):
        handles.append(style.line_handle(f"Pareto front of {name}", "black", dashes))
    if (info.origin == "reference").any():
        handles.append(mark("baseline trial", "s", markerfacecolor="none", markersize=11))
    unfinished = (info.outcome != "completed") & info.searched
    if unfinished.any():
        states = ", ".join(sorted(set(info.outcome[unfinished])))
        handles.append(mark(f"{states} ({int(unfinished.sum())})", "o", markerfacecolor="none", alpha=0.6))
    if info.replicated.values:
        handles.append(mark("replicate (fresh seed)", ".", markersize=4))
        handles.append(mark("mean of replicates,\n95 % intervals", "+", markersize=10, markeredgewidth=1.4))
    sizes = np.unique(info.latent_dim[np.isfinite(info.latent_dim)])
    if sizes.size > 1:
        handles.append(mark("marker size: latent size", "", color="none"))
        for d in dict.fromkeys([sizes[0], sizes[sizes.size // 2], sizes[-1]]):
            handles.append(mark(f"d = {d:.0f}", "o", markersize=float(np.sqrt(_area(d, sizes)))))
    return handles


def describe(info: Tradeoff) -> str:
    """The figure's caption and alt text."""
    count, best = int(info.searched.sum()), len(info.front)
    text = f"{naming.count(count)} by reconstruction error and sample quality"
    if extra := len(info.x) - count:
        text += f", and {extra} trained after the search (replicates, retrained trials)"
    text += f"; {best} {'is' if best == 1 else 'are'} Pareto-optimal."
    if info.recommended is not None:
        x, y = naming.number(info.x[info.recommended]), naming.number(info.y[info.recommended])
        text += f" The {info.role} is trial {info.trial[info.recommended]}"
        text += f" ({info.method[info.recommended]}) at {x} and {y}."
    if info.real_data is not None:
        text += " The real-data baseline on the vertical axis, real training images in place of generated ones, is "
        text += f"{naming.number(info.real_data)}."
    if info.left_out:
        verb = "is" if info.left_out == 1 else "are"
        text += f" {naming.count(info.left_out, 'more trial')} without finite values {verb} not shown."
    return text


if __name__ == "__main__":
    command.run_figure(info, plot, "tradeoff.png")
