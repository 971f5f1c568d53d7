"""Plots posterior collapse: the latent units in use during training, and how much each unit carries at the end.

python -m analysis.collapse --study NAME --out collapse.png
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, naming, style
from analysis.plotting.curves import Line, epoch_axis
from study.results.choice import choose
from study.results.frame import StudyFrames

ACTIVE = "val/active_units"
MOST_GROUPS = 10
VARYING = ("network", "likelihood", "method", "latent_dim", "weight", "annealing")


class Group(NamedTuple):
    """Trials that differ only in their seed or in parameters not listed in `VARYING`.

    Attributes:
        label: What distinguishes the group from the others.
        curves: (epochs, active units) of each trial.
        units: KL to the prior of each unit of one of the trials, largest first, nats, [d]; None if not recorded.
    """

    label: str
    curves: list[Line]
    units: np.ndarray | None


class Collapse(NamedTuple):
    """Groups of trials with Gaussian encoders, by weight.

    Attributes:
        missing: Why there is nothing to draw, or "".
        groups: At most ten, evenly spaced among all groups.
    """

    missing: str
    groups: list[Group]


def info(frames: StudyFrames) -> Collapse:
    """Groups the completed trials that measured active units."""
    rows = np.flatnonzero(choose(frames).eligible & np.isfinite(frames.column(ACTIVE)))
    if not len(rows):
        return Collapse(frames.nothing("no trial with a Gaussian encoder is complete"), [])
    columns = [frames.text(name) for name in VARYING]
    weight, latent_dim = frames.column("weight"), frames.column("latent_dim")
    keys = {int(row): tuple(column[row] for column in columns) for row in rows}
    differing = [index for index in range(len(VARYING)) if len({key[index] for key in keys.values()}) > 1]
    members: dict[tuple[str, ...], list[int]] = {}
    for row, key in sorted(keys.items(), key=lambda item: (weight[item[0]], latent_dim[item[0]], item[1], item[0])):
        members.setdefault(key, []).append(row)
    chosen = list(members.items())
    if len(chosen) > MOST_GROUPS:
        chosen = [chosen[index] for index in np.linspace(0, len(chosen) - 1, MOST_GROUPS).round().astype(int)]
    groups = []
    for key, found in chosen:
        parts = [_part(VARYING[index], key[index], weight[found[0]]) for index in differing]
        groups.append(
            Group(
                label=", ".join(parts) or frames.text("method")[found[0]],
                curves=[frames.curve(row, ACTIVE) for row in found],
                units=_units(frames, found),
            )
        )
    return Collapse("", groups)


def _part(name: str, value: str, weight: float) -> str:
    return {"weight": f"w={naming.number(weight)}", "latent_dim": f"d={value}"}.get(name, value)


def _units(frames: StudyFrames, rows: list[int]) -> np.ndarray | None:
    for row in rows:
        arrays = frames.arrays(row)
        if arrays is not None and "kl_per_unit" in arrays:
            return np.sort(arrays["kl_per_unit"])[::-1]
    return None


def plot(info: Collapse) -> Figure:
    """Draws active units over the epochs on the left, and the KL of each unit, if recorded, on the right."""
    with_units = any(group.units is not None for group in info.groups)
    figure = style.new_figure(9.4 if with_units else 6.2, 3.4)
    panels = figure.subplots(1, 2 if with_units else 1, squeeze=False)[0]
    handles = []
    for index, group in enumerate(info.groups):
        look = {"color": style.class_colour(index), "linestyle": ("-", "--", ":")[index % 3], "linewidth": 1.3}
        for epochs, values in group.curves:
            panels[0].plot(epochs, values, marker="." if len(epochs) < 10 else "", markersize=4, **look)
        if with_units and group.units is not None:
            panels[1].plot(np.arange(1, len(group.units) + 1), group.units, **look)
        handles.append(style.line_handle(group.label, look["color"], look["linestyle"]))
    panels[0].set_title("Active units, validation", fontweight="normal", fontsize=8.5)
    epoch_axis(panels[0])
    panels[0].yaxis.get_major_locator().set_params(integer=True)
    if with_units:
        panels[1].set_title("KL of each unit after training, nats", fontweight="normal", fontsize=8.5)
        panels[1].set_xlabel("Unit, largest first")
        panels[1].xaxis.get_major_locator().set_params(integer=True)
    figure.legend(handles=handles, loc="outside right upper", alignment="left", fontsize=7)
    return figure


def describe(info: Collapse) -> str:
    """The figure's caption and alt text."""
    ends = {group.label: [float(values[-1]) for _, values in group.curves if len(values)] for group in info.groups}
    counts = "; ".join(f"{label}: {', '.join(f'{end:.0f}' for end in found)}" for label, found in ends.items() if found)
    text = f"Active latent units, those whose posterior mean varies between images. Active after training: {counts}."
    collapsed = sum(end == 0 for found in ends.values() for end in found)
    if collapsed:
        text += f" Of the trials shown, {collapsed} collapsed: no unit carries information."
    return text


if __name__ == "__main__":
    command.run_figure(info, plot, "collapse.png")
