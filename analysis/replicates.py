"""Plots what fresh seeds say about the trials that the search chose: means, intervals and clear differences.

python -m analysis.replicates --study NAME --out replicates.png

A trial is on the front partly by luck, so its own value is shown beside its replicates and never averaged with them.
Intervals are 95 % t-intervals over a trial's replicates alone. Two trials are compared by Welch's t-test, which allows
different variances. It is not paired by seed, since the same seed draws different numbers in another configuration.
p-values have Holm's correction over all pairs and objectives, so the chance of any false difference in the whole table
is at most 5 %. All replicates of a study are scored by the same feature networks, so replicates do not show how much
other networks would change a score: the variance between networks, known from `benchmarks.instrument`, is added.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.plotting import command, naming, style
from analysis.plotting.noise import network_noise
from study.results.choice import choose, replicates_of, under_fitted
from study.results.frame import StudyFrames

CONFIDENCE = 0.95


class Replicates(NamedTuple):
    """The replicated trials, m of them, sorted by the first objective as the search saw it; k objectives.

    Attributes:
        missing: Why there is nothing to draw, or "".
        name: Name of the study or studies.
        objectives: Metric columns, k.
        rows: Rows of `frames.trials`, [m].
        trial: Labels, [m].
        method: Names, [m].
        configuration: Each trial's method, latent size and weight.
        recommended: Index of the recommended trial, or None if it was not replicated.
        on_front: Whether the trial is on the front now (the search may have continued), boolean [m].
        search: Values in the search, [m, k].
        seeds: Seeds of each trial's replicates.
        values: Each trial's replicates, [replicates, k].
        mean: Over the replicates, [m, k].
        low: Lower end of the mean's 95 % interval, [m, k]; NaN with a single replicate.
        high: Its upper end.
        p: Holm-adjusted p-values of Welch's t-test by pair and objective, [m, m, k]; NaN without a test.
    """

    missing: str
    name: str
    objectives: tuple[str, ...]
    rows: np.ndarray
    trial: np.ndarray
    method: np.ndarray
    configuration: list[str]
    recommended: int | None
    on_front: np.ndarray
    search: np.ndarray
    seeds: list[list[int]]
    values: list[np.ndarray]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray

    @property
    def apart(self) -> np.ndarray:
        """Whether two trials differ significantly in at least one objective, boolean [m, m]."""
        return np.asarray((self.p < 1 - CONFIDENCE).any(axis=2))


def info(frames: StudyFrames, objectives: tuple[str, ...] | None = None) -> Replicates:
    """Collects the replicates and computes their statistics.

    Args:
        frames: The study.
        objectives: Metric columns; by default the study's objectives, and their scores under the fitted prior.
    """
    names = tuple(frames.objectives) if objectives is None else objectives
    choice = choose(frames, names)
    groups = replicates_of(frames)
    if objectives is None and groups:
        copies = [row for group in groups.values() for row in group]
        fitted = [name for name in map(under_fitted, names) if np.isfinite(frames.column(name)[copies]).all()]
        names = tuple(dict.fromkeys([*names, *fitted]))
    raw = np.stack([frames.column(name) for name in names], axis=1) if names else np.empty((len(frames.trials), 0))
    found = {base: [row for row in rows if np.isfinite(raw[row]).all()] for base, rows in groups.items()}
    rows = np.array([base for base, copies in found.items() if copies and names], dtype=np.int64)
    if rows.size:
        rows = rows[np.lexsort(raw[rows].T[::-1])]
    values = [raw[found[row]] for row in rows]
    seed = frames.column("seed")
    shared = network_noise(frames, names)
    mean, low, high = _intervals(values, shared)
    knee = np.flatnonzero(rows == choice.recommended)
    return Replicates(
        missing="" if rows.size else frames.nothing("no trial has been replicated"),
        name=frames.name,
        objectives=names,
        rows=rows,
        trial=frames.labels()[rows],
        method=frames.text("method")[rows],
        configuration=[naming.configuration(frames, row) for row in rows],
        recommended=int(knee[0]) if knee.size else None,
        on_front=np.isin(rows, choice.front),
        search=raw[rows],
        seeds=[[int(seed[copy]) for copy in found[row]] for row in rows],
        values=values,
        mean=mean,
        low=low,
        high=high,
        p=welch(values, shared),
    )


def _intervals(values: list[np.ndarray], shared: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, and both ends of their intervals, each [m, k]; `shared` as in `welch`."""
    mean, half_width = np.full((2, len(values), len(shared)), np.nan)
    for index, group in enumerate(values):
        from scipy import stats  # takes a second, and only studies with replicates need it

        mean[index] = group.mean(axis=0)
        if len(group) > 1:
            within = stats.t.ppf(0.5 + CONFIDENCE / 2, len(group) - 1) * group.std(axis=0, ddof=1) / np.sqrt(len(group))
            half_width[index] = np.hypot(within, stats.norm.ppf(0.5 + CONFIDENCE / 2) * shared * np.abs(mean[index]))
    return mean, mean - half_width, mean + half_width


def welch(values: list[np.ndarray], shared: np.ndarray) -> np.ndarray:
    """Holm-adjusted p-values of Welch's t-tests between all pairs of groups.

    Args:
        values: m groups, [n, k] each; a group with fewer than two members is not tested.
        shared: Standard deviation of what all members of a group share, as a share of its mean, [k].

    Returns:
        [m, m, k], symmetric; NaN on the diagonal and without a test.
    """
    p = np.full((len(values), len(values), len(shared)), np.nan)
    pairs = [pair for pair in itertools.combinations(range(len(values)), 2) if all(len(values[i]) > 1 for i in pair)]
    if not pairs or not len(shared):
        return p
    from scipy import stats

    first, second = np.array(pairs).T
    mean, variance, spread = np.zeros((3, len(values), len(shared)))
    for index, group in enumerate(values):
        mean[index] = group.mean(axis=0)
        if len(group) > 1:
            variance[index] = group.var(axis=0, ddof=1) / len(group)
            spread[index] = variance[index] ** 2 / (len(group) - 1)
    variance += (shared * mean) ** 2  # known, so it adds to no spread (Satterthwaite's degrees of freedom)
    difference, both = np.abs(mean[first] - mean[second]), variance[first] + variance[second]
    with np.errstate(divide="ignore", invalid="ignore"):  # groups without spread
        freedom = both**2 / (spread[first] + spread[second])
        freedom[~np.isfinite(freedom)] = np.inf
        raw = 2 * stats.t.sf(difference / np.sqrt(both), freedom)
    raw = np.where(np.isfinite(raw), raw, np.where(difference == 0, 1.0, 0.0))
    p[first, second] = p[second, first] = holm(raw.ravel()).reshape(raw.shape)
    return p


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p-values [n] (Scand. J. Statist. 6, 1979), valid under any dependence."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))).clip(max=1)
    return adjusted


def plot(info: Replicates) -> Figure:
    """Draws a row per trial (replicates, mean, interval, value in the search), and the pairs that differ."""
    count = len(info.rows)
    panels = len(info.objectives)
    figure = style.new_figure(3.5 + 3.0 * panels, 1.7 + 0.42 * count)
    matrix = [0.75] if count > 1 else []
    every = figure.subplots(1, panels + len(matrix), squeeze=False, width_ratios=[1.0] * panels + matrix)[0]
    for index, axes in enumerate(every[:panels]):
        _draw_objective(axes, info, index)
        axes.set_yticks(range(count), [f"{t}: {c}" for t, c in zip(info.trial, info.configuration, strict=True)])
        axes.tick_params(axis="y", length=0, labelleft=index == 0)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(count - 0.5, -0.5)
    if matrix:
        _draw_pairs(every[-1], info)
    figure.suptitle(f"{info.name}: front trials trained again with fresh seeds", x=0.01, ha="left", fontsize=10,
                    fontweight="bold")  # fmt: skip
    figure.legend(handles=_legend(), loc="outside lower left", ncols=4)
    return figure


def _draw_objective(axes: Axes, info: Replicates, index: int) -> None:
    shown = np.concatenate([info.search[:, index], *(group[:, index] for group in info.values)])
    log = style.use_log(shown, spread=2.0)
    # With few seeds an interval can reach below zero, which a log axis cannot show: it ends at the axis.
    lows = np.maximum(info.low[:, index], 0.85 * shown.min()) if log else info.low[:, index]
    for row, group in enumerate(info.values):
        colour, _ = style.method_style(info.method[row])
        axes.plot([lows[row], info.high[row, index]], [row, row], color=colour, linewidth=5, alpha=0.3,
                  solid_capstyle="butt", zorder=2)  # fmt: skip
        axes.plot(group[:, index], np.full(len(group), row), ".", color=colour, markersize=5, alpha=0.8, zorder=3)
        axes.plot(info.mean[row, index], row, "|", color=colour, markersize=14, markeredgewidth=2, zorder=4)
        axes.plot(info.search[row, index], row, "D", color="black", markerfacecolor="none", markersize=5, zorder=5)
    if log:
        style.log_axis(axes, "x", np.array([0.93 * shown.min(), 1.07 * shown.max()]))
        axes.set_xlim(0.85 * shown.min(), 1.18 * shown.max())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(naming.label(info.objectives[index]), fontsize=8)


def _draw_pairs(axes: Axes, info: Replicates) -> None:
    count = len(info.rows)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    for row, column in itertools.product(range(count), repeat=2):
        if row != column:
            apart = bool(info.apart[row, column])
            axes.plot(column, row, "s" if apart else "o", markersize=7, color="#444444" if apart else style.GREY,
                      markerfacecolor="#444444" if apart else "none")  # fmt: skip
    axes.set_xticks(range(count), info.trial.tolist(), rotation=90 if count > 8 else 0)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("Significant difference from trial:\n■ yes   ○ no", fontsize=8)


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], linestyle="", marker="D", color="black", markerfacecolor="none", markersize=5,
               label="value in the search (selected)"),
        Line2D([], [], linestyle="", marker=".", color=style.GREY, label="replicate"),
        Line2D([], [], linestyle="", marker="|", color=style.GREY, markersize=12, markeredgewidth=2, label="mean"),
        Line2D([], [], color=style.GREY, linewidth=5, alpha=0.3, label="95 % interval of the mean"),
    ]  # fmt: skip


def interval(info: Replicates, index: int, objective: int) -> str:
    """Mean and interval of a trial's replicates in one objective: `0.0149 [0.0141, 0.0157]`."""
    mean, low, high = (naming.number(part[index, objective]) for part in (info.mean, info.low, info.high))
    return f"{mean} [{low}, {high}]" if len(info.values[index]) > 1 else mean


def table(info: Replicates) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the replicated trials."""
    heads = ["trial", "configuration", "seeds"]
    for name in info.objectives:
        heads += [f"{name}: in the search", "mean of replicates [95 % interval]"]
    rows = []
    for index, (label, configuration) in enumerate(zip(info.trial, info.configuration, strict=True)):
        cells = [str(label), configuration, str(len(info.values[index]))]
        for objective in range(len(info.objectives)):
            cells += [naming.number(info.search[index, objective]), interval(info, index, objective)]
        rows.append([*cells, ", ".join(alike(info, index)) or "none"])
    return [*heads, "no significant difference from"], rows


def records(info: Replicates) -> list[list[str]]:
    """The table for other programs: headings, then a line per trial and objective with full precision."""
    heads = "trial objective search replicates mean low_95 high_95 seeds not_told_apart_from"
    lines: list[list[str]] = [list(heads.split())]
    for index, label in enumerate(info.trial):
        for objective, name in enumerate(info.objectives):
            parts = (info.mean, info.low, info.high)
            numbers = [f"{part[index, objective]:.9g}" for part in parts]
            search, count = f"{info.search[index, objective]:.9g}", str(len(info.values[index]))
            seeds = " ".join(map(str, info.seeds[index]))
            lines.append([str(label), name, search, count, *numbers, seeds, " ".join(alike(info, index))])
    return lines


def alike(info: Replicates, index: int) -> list[str]:
    """Labels of the other trials from which a trial differs significantly in no objective."""
    return [str(info.trial[other]) for other in np.flatnonzero(~info.apart[index]) if other != index]


def describe(info: Replicates) -> str:
    """The figure's caption and alt text."""
    count = len(info.rows)
    counts = sorted({len(group) for group in info.values})
    again = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = f"{naming.count(count)} of the front trained again, with {again} fresh seeds each."
    with np.errstate(divide="ignore", invalid="ignore"):
        change = (info.mean / info.search - 1).mean(axis=0)
    if np.isfinite(change).all():
        parts = " and ".join(
            f"{100 * value:+.1f} % in {naming.short_label(name)}"
            for name, value in zip(info.objectives, change, strict=True)
        )
        text += f" The means of the replicates differ from the values in the search by {parts}."
    pairs = count * (count - 1) // 2
    if pairs:
        apart = int(np.triu(info.apart, 1).sum())
        text += (
            f" {apart} of {pairs} pairs differ significantly in at least one objective (Welch's t-test, 5 %, Holm's "
            "correction over all pairs and objectives)."
        )
    return text


if __name__ == "__main__":
    command.run_figure(info, plot, "replicates.png")
