"""Plots rate against distortion of Gaussian encoders (Alemi et al., arXiv 1711.00464, figure 1).

python -m analysis.rate_distortion --study NAME --out rate_distortion.png
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, style
from study.results.choice import choose, latent_groups
from study.results.frame import StudyFrames

COLLAPSED = 0.1
MOST_SIZES = 8


class RateDistortion(NamedTuple):
    """Completed trials with a Gaussian encoder.

    Attributes:
        missing: Why there is nothing to draw, or "".
        trial: Labels.
        rate: KL to the prior, nats per image, validation.
        distortion: Half the summed squared error of the mean code's reconstruction, nats per image, validation.
        method: Names.
        latent_dim: Sizes of z.
        curves: (method, latent sizes) -> indices by growing rate.
    """

    missing: str
    trial: np.ndarray
    rate: np.ndarray
    distortion: np.ndarray
    method: np.ndarray
    latent_dim: np.ndarray
    curves: dict[tuple[str, str], np.ndarray]


def rate_distortion_info(frames: StudyFrames) -> RateDistortion:
    """Distortion is 1/2 * pixels * MSE whatever likelihood a trial was trained with, so that trials compare."""
    data = frames.study.get("data") or {}
    pixels = float(data.get("channels", np.nan)) * float(data.get("height", np.nan)) * float(data.get("width", np.nan))
    rate, distortion = frames.column("val/kl"), 0.5 * pixels * frames.column("val/reconstruction_mse")
    keep = choose(frames).eligible & np.isfinite(rate) & np.isfinite(distortion)
    drawn = frames.keep(keep)
    method, latent_dim, rate, distortion = (
        drawn.text("method"),
        drawn.column("latent_dim"),
        rate[keep],
        distortion[keep],
    )
    curves = {}
    for name in style.methods_in_order(method):
        for label, members in latent_groups(latent_dim, at_most=MOST_SIZES):
            rows = np.flatnonzero(members & (method == name))
            if rows.size:
                curves[name, label] = rows[np.argsort(rate[rows], kind="stable")]
    return RateDistortion(
        missing="" if keep.any() else frames.nothing("no trial with a Gaussian encoder has completed"),
        trial=drawn.labels(),
        rate=rate,
        distortion=distortion,
        method=method,
        latent_dim=latent_dim,
        curves=curves,
    )


def plot(info: RateDistortion) -> Figure:
    """Points by method, joined at equal latent size."""
    if info.missing:
        return style.message_figure(info.missing)
    figure = style.new_figure(7.0, 4.2)
    axes = figure.add_subplot()
    order = list(dict.fromkeys(method for method, _ in info.curves))
    for (method, label), rows in info.curves.items():
        colour, marker = style.method_style(method)
        crowd = len(rows) > 20 or len(set(info.latent_dim[rows])) > 1  # a curve is one of equal latent size
        axes.plot(info.rate[rows], info.distortion[rows], color=colour, marker=marker, markersize=3 if crowd else 5,
                  linewidth=0 if crowd else 1, alpha=0.5 if crowd else 0.9)  # fmt: skip
        end = (info.rate[rows[-1]], info.distortion[rows[-1]])
        axes.annotate(label.replace(" ", ""), end, fontsize=7, color=colour,
                      xytext=(5, -3 + 9 * order.index(method)), textcoords="offset points")  # fmt: skip
    axes.set_xlim(left=-0.02 * float(info.rate.max()))
    axes.set_ylim(0, 1.06 * float(info.distortion.max()))
    axes.set_xlabel("Rate: KL to N(0, I), nats per image, validation")
    axes.set_ylabel("Distortion: ½ · summed squared error,\nnats per image, validation")
    figure.legend(handles=style.method_handles(info.method), loc="outside right upper")
    return figure


def describe(info: RateDistortion) -> str:
    """The figure in words."""
    if info.missing:
        return info.missing
    low, high = style.number(float(info.rate.min())), style.number(float(info.rate.max()))
    text = f"Rate against distortion of {style.count(len(info.rate))} with a Gaussian encoder, "
    text += f"rates from {low} to {high} nats. "
    text += "Where a VAE has reached its optimum, its curve falls with a slope of minus the weight."
    collapsed = int((info.rate < COLLAPSED).sum())
    return text + (
        f" {collapsed} collapsed: a rate below {COLLAPSED} says nothing about the image." if collapsed else ""
    )


if __name__ == "__main__":
    command.run_figure(rate_distortion_info, plot, "rate_distortion.png")
