"""Plots the range of posterior means and deviations during training, and the codes' root mean square (prior: 1).

python -m analysis.posterior_range --study NAME --out posterior_range.png
"""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.figure import Figure

from analysis.plotting import command, naming, style
from analysis.plotting.curves import Line, Named, draw_named, epoch_axis, named_handles, named_trials
from study.results.frame import StudyFrames

PANELS = {
    "Posterior means,\nlowest and highest": ("val/mu_low", "val/mu_high"),
    "Posterior standard deviations,\nlowest and highest": ("val/sigma_low", "val/sigma_high"),
    "Root mean square of the codes": ("val/latent_rms",),
}


class PosteriorRange(NamedTuple):
    """Ranges over the epochs.

    Attributes:
        missing: Why there is nothing to draw, or "".
        panels: Title -> its metric columns; only measured ones.
        named: The named trials.
        lines: Metric -> curve of each named trial.
    """

    missing: str
    panels: dict[str, tuple[str, ...]]
    named: list[Named]
    lines: dict[str, list[Line]]


def info(frames: StudyFrames) -> PosteriorRange:
    """Collects the measured columns of the named trials."""
    panels = {
        title: columns
        for title, columns in PANELS.items()
        if all(name in frames.history and frames.history[name].notna().any() for name in columns)
    }
    named = named_trials(frames)
    return PosteriorRange(
        missing="" if panels and named else frames.nothing("no latent ranges were recorded"),
        panels=panels,
        named=named,
        lines={name: [frames.curve(trial.row, name) for trial in named] for names in panels.values() for name in names},
    )


def plot(info: PosteriorRange) -> Figure:
    """Draws a panel per quantity; the lowest and highest value of a trial share its line style."""
    figure = style.new_figure(2.2 + 2.7 * len(info.panels), 3.0)
    panels = figure.subplots(1, len(info.panels), squeeze=False)[0]
    handles = named_handles(info.named)
    for axes, (title, columns) in zip(panels, info.panels.items(), strict=True):
        for name in columns:
            for trial, (epochs, values) in zip(info.named, info.lines[name], strict=True):
                draw_named(axes, trial, epochs, values)
        axes.set_title(title, fontweight="normal", fontsize=8.5)
        epoch_axis(axes)
        if columns == ("val/latent_rms",):
            axes.axhline(1.0, color=style.GREY, linestyle="--", linewidth=1)
            handles.append(style.line_handle("prior N(0, I): 1", style.GREY, "--"))
    figure.legend(handles=handles, loc="outside right upper", title="trial", alignment="left")
    return figure


def describe(info: PosteriorRange) -> str:
    """The figure's caption and alt text."""
    text = f"Range of the validation images' codes during training, {naming.count(len(info.named))}."
    ends = [
        (trial.label, values[-1])
        for trial, (_, values) in zip(info.named, info.lines.get("val/latent_rms", []), strict=False)
        if len(values)
    ]
    if ends:
        values = "; ".join(f"{naming.number(end)} for trial {name}" for name, end in ends)
        text += f" Root mean square after training (prior: 1): {values}."
    return text


if __name__ == "__main__":
    command.run_figure(info, plot, "posterior_range.png")
