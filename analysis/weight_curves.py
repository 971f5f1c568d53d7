"""Plots each objective against the weight, by method and latent size; one weight proves little about a method.

python -m analysis.weight_curves --study NAME --out weight_curves.png
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, naming, style
from study.results.choice import choose, full_weight, latent_groups
from study.results.frame import StudyFrames

BINS = 10


class WeightCurves(NamedTuple):
    """Completed trials with their weights and objectives.

    Attributes:
        missing: Why there is nothing to draw, or "".
        objectives: Metric columns, one row of panels each.
        groups: Labels of the latent sizes, one column of panels each.
        weight: Weight w of each trial, [trials].
        values: Objectives of each trial, [trials, objectives].
        method: Method of each trial.
        group: Index into `groups` of each trial.
        curves: (method, group) -> medians of weight and objectives in each bin, [bins, 1 + objectives], ascending;
            few distinct weights have a bin each.
        unweighted: (method, group) -> median objectives of trials without a weight (a plain AE), [objectives].
        real_data: Objective -> real-data baseline, for objectives that have one.
    """

    missing: str
    objectives: list[str]
    groups: list[str]
    weight: np.ndarray
    values: np.ndarray
    method: np.ndarray
    group: np.ndarray
    curves: dict[tuple[str, int], np.ndarray]
    unweighted: dict[tuple[str, int], np.ndarray]
    real_data: dict[str, float]


def info(frames: StudyFrames) -> WeightCurves:
    """Groups trials by method and latent size, and bins their weights."""
    choice = choose(frames)
    drawn = frames.keep(choice.eligible)
    objectives = list(frames.objectives)
    weight, method = full_weight(drawn), drawn.text("method")
    columns = [drawn.column(name) for name in objectives]
    values = np.stack(columns, axis=1) if columns else np.empty((len(weight), 0))
    labels, group = [], np.full(len(weight), -1)
    for label, members in latent_groups(drawn.column("latent_dim")):
        group[members] = len(labels)
        labels.append(label)
    curves: dict[tuple[str, int], np.ndarray] = {}
    unweighted: dict[tuple[str, int], np.ndarray] = {}
    for name in naming.methods_in_order(method):
        for index in range(len(labels)):
            members = (method == name) & (group == index)
            if (members & (weight > 0)).any():
                curves[name, index] = binned(weight[members & (weight > 0)], values[members & (weight > 0)])
            if (members & (weight == 0)).any():
                unweighted[name, index] = np.median(values[members & (weight == 0)], axis=0)
    return WeightCurves(
        missing="" if curves else frames.nothing("no trial with a weight has completed"),
        objectives=objectives,
        groups=labels,
        weight=weight,
        values=values,
        method=method,
        group=group,
        curves=curves,
        unweighted=unweighted,
        real_data={name: value for name in objectives if (value := frames.real_data(name)) is not None},
    )


def binned(weight: np.ndarray, values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Median weight and values in each occupied bin of log weight, [bins, 1 + k]; few weights get a bin each."""
    points = np.column_stack([weight, values])
    distinct, index = np.unique(weight, return_inverse=True)
    if len(distinct) > bins:
        edges = np.linspace(np.log(distinct[0]), np.log(distinct[-1]), bins + 1)
        index = np.clip(np.searchsorted(edges, np.log(weight), side="right") - 1, 0, bins - 1)
    return np.stack([np.median(points[index == i], axis=0) for i in np.unique(index)])


def plot(info: WeightCurves) -> Figure:
    """Draws a grid of panels, objectives down and latent sizes across, with shared axes."""
    rows, columns = len(info.objectives), len(info.groups)
    figure = style.new_figure(2.2 + 2.3 * columns, 0.9 + 2.3 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey="row", squeeze=False)
    weighted = info.weight > 0
    for row, objective in enumerate(info.objectives):
        for column, label in enumerate(info.groups):
            axes = grid[row, column]
            for (method, group), curve in info.curves.items():
                if group != column:
                    continue
                colour, marker = style.method_style(method)
                points = weighted & (info.method == method) & (info.group == column)
                crowd = points.sum() > BINS
                axes.scatter(info.weight[points], info.values[points, row], 8 if crowd else 20, color=colour,
                             marker=marker, alpha=0.25 if crowd else 0.9, linewidths=0)  # fmt: skip
                axes.plot(curve[:, 0], curve[:, 1 + row], color=colour, linewidth=1.4)
            for (method, group), values in info.unweighted.items():
                if group == column:
                    axes.axhline(values[row], color=style.method_style(method)[0], linewidth=1.2, linestyle="-.")
            if objective in info.real_data:
                style.draw_real_data(axes, info.values[:, row], info.real_data[objective], named=False)
            if row == 0:
                axes.set_title(label, fontweight="normal", loc="center")
        shown = info.values[:, row]
        if style.use_log(shown, spread=2.0):
            style.log_axis(grid[row, 0], "y", shown)
        grid[row, 0].set_ylabel(naming.label(objective).replace(", ", ",\n"))
    style.log_axis(grid[0, 0], "x", info.weight[weighted], narrow=True)
    if len(set(info.weight[weighted])) == 1:  # a log axis cannot find its limits from one value
        grid[0, 0].set_xlim(info.weight[weighted][0] / 4, info.weight[weighted][0] * 4)
    figure.supxlabel("Weight w  (loss = D + w · R, D in nats per image)", fontsize=9)
    handles = style.method_handles([method for method, _ in (*info.curves, *info.unweighted)])
    handles += style.real_data_handles(grid.flat)
    if info.unweighted:
        handles.append(style.line_handle("without a weight", "black", "-."))
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def describe(info: WeightCurves) -> str:
    """The figure's caption and alt text."""
    weighted = info.weight > 0
    low, high = (naming.number(value) for value in (info.weight[weighted].min(), info.weight[weighted].max()))
    count = naming.count(int(weighted.sum()))
    weights = f"with w = {low} to {high}" if low != high else f"with w = {low}"
    text = f"Each objective against the weight: {count} {weights}, one column per latent size."
    for index, objective in enumerate(info.objectives[1:2], start=1):
        best = int(np.argmin(np.where(weighted, info.values[:, index], np.inf)))
        where = f"{info.method[best]} at w = {naming.number(info.weight[best])}, {info.groups[info.group[best]]}"
        text += f" The lowest {naming.short_label(objective)} is {naming.number(info.values[best, index])}: {where}."
    return text


if __name__ == "__main__":
    command.run_figure(info, plot, "weight_curves.png")
