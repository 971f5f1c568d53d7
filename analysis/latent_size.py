"""Plots error and sample quality against latent size: each method's best compromise at each size, beside PCA.

python -m analysis.latent_size --study NAME --out latent_size.png
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, naming, style
from analysis.plotting.pictures import best_by_size
from study.results.choice import choose
from study.results.frame import StudyFrames


class LatentSize(NamedTuple):
    """Completed trials by latent size.

    Attributes:
        missing: Why there is nothing to draw, or "".
        objectives: Metric columns, one panel each.
        latent_dim: Latent size of each trial, [trials].
        values: Objectives of each trial, [trials, objectives].
        method: Method of each trial.
        knees: Method -> latent size and objectives of its knee at each size, [sizes, 1 + objectives].
        pca: Latent sizes and PCA's reconstruction error, [sizes, 2]; empty if unknown.
        real_data: Objective -> real-data baseline, for objectives that have one.
    """

    missing: str
    objectives: list[str]
    latent_dim: np.ndarray
    values: np.ndarray
    method: np.ndarray
    knees: dict[str, np.ndarray]
    pca: np.ndarray
    real_data: dict[str, float]


def info(frames: StudyFrames) -> LatentSize:
    """Each method is shown at each size by the trial to recommend there, so both panels show the same trial."""
    choice = choose(frames)
    objectives = list(frames.objectives)
    method, latent_dim = frames.text("method"), frames.column("latent_dim")
    columns = [frames.column(name) for name in objectives]
    values = np.stack(columns, axis=1) if columns else np.empty((len(method), 0))
    knees: dict[str, list[list[float]]] = {}
    for (name, size), row in best_by_size(frames, choice).items():
        knees.setdefault(name, []).append([size, *values[row]])
    sizes = np.unique(latent_dim[choice.eligible])
    pca = {d: error for d, error in frames.pca("val").items() if sizes.size and sizes[0] <= d <= sizes[-1]}
    return LatentSize(
        missing="" if knees else frames.nothing("no trial has completed"),
        objectives=objectives,
        latent_dim=latent_dim[choice.eligible],
        values=values[choice.eligible],
        method=method[choice.eligible],
        knees={name: np.array(rows) for name, rows in knees.items()},
        pca=np.array(sorted(pca.items()), dtype=np.float64).reshape(-1, 2),
        real_data={name: value for name in objectives if (value := frames.real_data(name)) is not None},
    )


def plot(info: LatentSize) -> Figure:
    """Draws a panel per objective."""
    figure = style.new_figure(1.8 + 3.3 * len(info.objectives), 3.6)
    panels = figure.subplots(1, len(info.objectives), squeeze=False)[0]
    for index, (axes, objective) in enumerate(zip(panels, info.objectives, strict=True)):
        for method, knees in info.knees.items():
            colour, marker = style.method_style(method)
            points = info.method == method
            values = info.values[points, index]
            axes.scatter(info.latent_dim[points], values, 12, color=colour, marker=marker, alpha=0.25, linewidths=0)
            axes.plot(knees[:, 0], knees[:, 1 + index], color=colour, marker=marker, markersize=6, linewidth=1.4)
        shown = [info.values[:, index]]
        if objective.endswith("/reconstruction_mse") and len(info.pca):
            axes.plot(info.pca[:, 0], info.pca[:, 1], color=style.GREY, linestyle=":", linewidth=1.2,
                      marker="." if len(info.pca) == 1 else "")  # fmt: skip
            shown.append(info.pca[:, 1])
        if objective in info.real_data:
            style.draw_real_data(axes, info.values[:, index], info.real_data[objective], named=False)
        if style.use_log(np.concatenate(shown), spread=2.0):
            style.log_axis(axes, "y", np.concatenate(shown))
        if style.use_log(info.latent_dim, spread=2.0):
            axes.set_xscale("log", base=2)
        style.size_ticks(axes, np.unique(info.latent_dim))
        axes.set_xlabel(naming.label("latent_dim"))
        axes.set_ylabel(naming.label(objective))
    handles = style.method_handles(info.knees)
    if len(info.pca):
        handles.append(style.line_handle("PCA", style.GREY, ":"))
        handles[-1].set_marker("." if len(info.pca) == 1 else "")
    handles += style.real_data_handles(panels)
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def describe(info: LatentSize) -> str:
    """The figure's caption and alt text."""
    text = "Both objectives by latent size. A line joins each method's recommended trial at each size; faint "
    text += "marks are all completed trials."
    beaten = []
    for method, knees in info.knees.items():
        errors = {float(row[0]): float(row[1]) for row in knees}
        shared = [size for size, _ in info.pca if size in errors]
        below = [size for size, error in info.pca if size in errors and errors[size] < error]
        if shared:
            beaten.append(f"{method} at {len(below)} of {len(shared)}")
    if beaten and info.objectives[0].endswith("/reconstruction_mse"):
        text += f" Latent sizes at which that trial reconstructs better than PCA: {', '.join(beaten)}."
    return text


if __name__ == "__main__":
    command.run_figure(info, plot, "latent_size.png")
