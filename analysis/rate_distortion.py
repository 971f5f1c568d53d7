"""Plots rate against distortion of Gaussian encoders (Alemi et al., arXiv 1711.00464, figure 1).

python -m analysis.rate_distortion --study NAME --out rate_distortion.png
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, naming, style
from study.results.choice import choose, latent_groups
from study.results.frame import StudyFrames

COLLAPSED = 0.1
MOST_SIZES = 8


class RateDistortion(NamedTuple):
    """Completed trials with a Gaussian encoder and one likelihood, the commonest.

    Attributes:
        missing: Why there is nothing to draw, or "".
        likelihood: The likelihood, which gives D its unit; "" if there is nothing to draw.
        others: Trials that are left out because they have another likelihood.
        sloped: Whether the weight is a VAE's slope: some trial is a VAE without other terms in its loss.
        trial: Labels.
        rate: KL to the prior, nats per image, validation.
        distortion: D at codes drawn from the posterior, which is what the loss holds, nats per image, validation.
        method: Methods.
        latent_dim: Latent sizes.
        curves: (method, latent sizes) -> indices in order of rate.
    """

    missing: str
    likelihood: str
    others: int
    sloped: bool
    trial: np.ndarray
    rate: np.ndarray
    distortion: np.ndarray
    method: np.ndarray
    latent_dim: np.ndarray
    curves: dict[tuple[str, str], np.ndarray]


def info(frames: StudyFrames) -> RateDistortion:
    """Takes rate and distortion as they were measured. The D of two likelihoods cannot be compared."""
    rate, distortion = frames.column("val/kl"), frames.column("val/distortion")
    measured = choose(frames).eligible & np.isfinite(rate) & np.isfinite(distortion)
    likelihoods = frames.text("likelihood")
    likelihood = Counter(likelihoods[measured].tolist()).most_common(1)[0][0] if measured.any() else ""
    keep = measured & (likelihoods == likelihood)
    drawn, rate, distortion = frames.keep(keep), rate[keep], distortion[keep]
    plain = (drawn.column("perceptual_weight") == 0) & (drawn.column("total_variation_weight") == 0)
    method, latent_dim = drawn.text("method"), drawn.column("latent_dim")
    curves = {}
    for name in naming.methods_in_order(method):
        for label, members in latent_groups(latent_dim, at_most=MOST_SIZES):
            rows = np.flatnonzero(members & (method == name))
            if rows.size:
                curves[name, label] = rows[np.argsort(rate[rows], kind="stable")]
    return RateDistortion(
        missing=""
        if keep.any()
        else frames.nothing("no completed trial has a distortion at a Gaussian encoder's codes"),
        likelihood=likelihood,
        others=int(measured.sum() - keep.sum()),
        sloped=bool((plain & (drawn.text("method") == "VAE")).any()),
        trial=drawn.labels(),
        rate=rate,
        distortion=distortion,
        method=method,
        latent_dim=latent_dim,
        curves=curves,
    )


def plot(info: RateDistortion) -> Figure:
    """Draws points by method, joined if their latent sizes are equal."""
    figure = style.new_figure(7.0, 4.2)
    axes = figure.add_subplot()
    order = list(dict.fromkeys(method for method, _ in info.curves))
    for (method, label), rows in info.curves.items():
        colour, marker = style.method_style(method)
        crowd = len(rows) > 20 or len(set(info.latent_dim[rows])) > 1  # only points of equal latent size are joined
        axes.plot(info.rate[rows], info.distortion[rows], color=colour, marker=marker, markersize=3 if crowd else 5,
                  linewidth=0 if crowd else 1, alpha=0.5 if crowd else 0.9)  # fmt: skip
        end = (info.rate[rows[-1]], info.distortion[rows[-1]])
        axes.annotate(label.replace(" ", ""), end, fontsize=7, color=colour,
                      xytext=(5, -3 + 9 * order.index(method)), textcoords="offset points")  # fmt: skip
    axes.set_xlim(left=-0.02 * float(info.rate.max()))
    low, high = min(0.0, float(info.distortion.min())), max(0.0, float(info.distortion.max()))  # densities exceed 1
    axes.set_ylim(low, high + 0.06 * (high - low))
    axes.set_xlabel("Rate: KL to N(0, I), nats per image, validation")
    axes.set_ylabel("Distortion: D at codes drawn from the\nposterior, nats per image, validation")
    figure.legend(handles=style.method_handles(info.method), loc="outside right upper")
    return figure


def describe(info: RateDistortion) -> str:
    """The figure's caption and alt text."""
    low, high = naming.number(float(info.rate.min())), naming.number(float(info.rate.max()))
    text = f"Rate against distortion of {naming.count(len(info.rate))} with a Gaussian encoder, "
    text += f"rates from {low} to {high} nats. "
    text += f"Distortion is the loss's D (likelihood {info.likelihood}) at codes drawn from the posterior."
    if info.sloped:
        text += " At a VAE's optimum, its curve has slope minus the weight."
    if info.others:
        text += f" {naming.count(info.others)} with another likelihood left out: its D has another unit."
    collapsed = int((info.rate < COLLAPSED).sum())
    return text + (
        f" {collapsed} collapsed (rate below {COLLAPSED}): z says nothing about the image." if collapsed else ""
    )


if __name__ == "__main__":
    command.run_figure(info, plot, "rate_distortion.png")
