"""The table of metrics: name, direction and label. It imports no torch, so figures and spaces may read it.

To add a metric that compares samples with real images, write `function(real, generated) -> float` on two `FeatureSet`s
and name it in `METRICS`. A metric that is not finite is never hidden: `require_finite` raises an error that names it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from study.measure.comparison import FeatureSet


class MetricError(ArithmeticError):
    """A metric is NaN or infinite. The message names it."""


@dataclass(frozen=True)
class Metric:
    """What a table, a figure or a search must know about a metric.

    Attributes:
        direction: Which way is better, or `none` for a quantity that only describes.
        label: Its text on axes and in tables. A metric of a space's own goes by its name.
        function: For a metric that compares samples from the prior with real images: `function(real, generated)`.
        logarithmic: Whether a hypervolume uses its logarithm, so that halving it is worth the same at any size. Only
            for minimised metrics.
        name: What records call a metric of a space's own, `val/NAME`.
        sees: What such a metric's function is given of real and of generated images: a `FeatureSet` of each, or the
            `images` themselves, float [N, C, H, W] in [0, 1], the same number of both.
    """

    kind: ClassVar[str] = "metric"
    direction: Literal["minimize", "maximize", "none"]
    label: str = ""
    function: Callable[[Any, Any], float] | None = None
    logarithmic: bool = False
    name: str = ""
    sees: Literal["features", "images"] = "features"


def require_finite(values: Mapping[str, float]) -> None:
    """Checks metrics by name.

    Raises:
        MetricError: A metric is NaN or infinite; the message names all that are.
    """
    broken = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise MetricError(f"not a finite metric: {', '.join(broken)}")


METRICS: dict[str, Metric] = {
    "reconstruction_mse": Metric("minimize", "Reconstruction error (MSE per pixel)", logarithmic=True),
    "reconstruction_fid": Metric("minimize", "Reconstruction FID", logarithmic=True),
    "reconstruction_psnr": Metric("maximize", "Reconstruction PSNR (dB, mean over images)"),
    "reconstruction_ssim": Metric("maximize", "Reconstruction SSIM"),
    "sample_fid": Metric("minimize", "Sample FID", logarithmic=True),
    "second_fid": Metric("minimize", "Sample FID, second feature network", logarithmic=True),
    "sample_kid": Metric("minimize", "Sample KID", FeatureSet.kid),
    "precision": Metric("maximize", "Precision"),
    "recall": Metric("maximize", "Recall"),
    "density": Metric("maximize", "Density"),
    "coverage": Metric("maximize", "Coverage"),
    "copies": Metric("minimize", "Copies: samples unusually near to a training image"),
    "expost_fid": Metric("minimize", "Sample FID, ten Gaussians fitted to the codes", logarithmic=True),
    "prior_gap": Metric("none", "Prior gap (sample FID less that from the fitted prior)"),
    "prior_components": Metric("none", "Gaussians in the fitted prior"),
    "interpolation_fid": Metric("minimize", "Interpolation FID", logarithmic=True),
    "latent_mmd": Metric("none", "MMD² of the codes to N(0, I)"),
    "latent_rms": Metric("none", "Root mean square of the codes"),
    "mu_low": Metric("none", "Lowest posterior mean"),
    "mu_high": Metric("none", "Highest posterior mean"),
    "sigma_low": Metric("none", "Lowest posterior deviation"),
    "sigma_high": Metric("none", "Highest posterior deviation"),
    "kl": Metric("minimize", "Rate: KL of the posteriors to N(0, I) (nats per image)"),
    "active_units": Metric("none", "Active latent units"),
    "distortion": Metric("minimize", "Distortion: D at codes drawn from the posterior (nats per image)"),
    "log_likelihood": Metric("none", "Log-likelihood under the posterior (own likelihood, nats per image)"),
    "elbo": Metric("maximize", "ELBO: log-likelihood less rate (own likelihood, nats per image)"),
    "nll": Metric("minimize", "Negative log-likelihood (IWAE bound, own likelihood, nats per image)"),
}
"""Every metric by name. Records put `val/` or `test/` before it."""

FITTED: dict[str, str] = {
    name: f"fitted_{name.removeprefix('sample_')}"
    for name in ("sample_fid", "second_fid", "sample_kid", "precision", "recall", "density", "coverage", "copies")
}
"""Metric of samples from N(0, I) -> the same of samples from the fitted prior."""
METRICS |= {
    fitted: dataclasses.replace(METRICS[name], label=f"{METRICS[name].label}, fitted prior", function=None)
    for name, fitted in FITTED.items()
}


def metric_name(column: str) -> str:
    """The metric that a recorded column holds: `val/sample_fid` and `test/sample_fid` hold `sample_fid`."""
    return column.rpartition("/")[2]


def is_logarithmic(column: str) -> bool:
    """Whether a hypervolume uses the logarithm of a recorded objective."""
    metric = METRICS.get(metric_name(column))
    return metric is not None and metric.logarithmic
