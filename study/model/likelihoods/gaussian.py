"""Gaussian densities: of a given variance, and of learned ones."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
import torch.nn as nn
from torch import Tensor

from study.config import DataSummary
from study.model.likelihoods.base import (
    AVERAGED,
    HALF_LOG_TWO_PI,
    LOWEST_LOGVAR,
    Likelihood,
    bounded_below,
    from_tanh,
    gaussian_cost,
    noise_like,
)


class Gaussian(Likelihood):
    """Variance s: half the sum of squared errors."""

    name: ClassVar[str] = "gaussian"
    unbounded: ClassVar[bool] = True
    constant = HALF_LOG_TWO_PI
    scale_nats = 0.5

    def center(self, raw: Tensor) -> Tensor:
        """The density's centre, [B, C, H, W]."""
        return raw

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return 0.5 * (x - self.center(raw)).square().flatten(1).sum(dim=1)

    def mean(self, raw: Tensor) -> Tensor:
        return self.center(raw).clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        return (self.center(raw) + math.sqrt(scale) * noise_like(raw, generator)).clamp(0, 1)


@final
class GaussianTanh(Gaussian):
    """`gaussian` around 1/2 + tanh/2 of the decoder's output."""

    name: ClassVar[str] = "gaussian_tanh"
    unbounded: ClassVar[bool] = False

    def center(self, raw: Tensor) -> Tensor:
        return from_tanh(raw)


@final
class GaussianScalar(Likelihood):
    """One learned variance for all pixels (σ-VAE, 2006.13202, §3.1), starting at the data's own."""

    name: ClassVar[str] = "gaussian_scalar"
    unbounded: ClassVar[bool] = True

    def __init__(self, summary: DataSummary) -> None:
        super().__init__()
        variance = summary.total_variance / (summary.channels * summary.height * summary.width)
        self.raw_logvar = nn.Parameter(torch.tensor(max(math.log(max(variance, 1e-12)), LOWEST_LOGVAR)))

    @property
    def logvar(self) -> Tensor:
        """Logarithm of the variance, 0-dim."""
        return bounded_below(self.raw_logvar)

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return gaussian_cost(raw, self.logvar, x)

    def mean(self, raw: Tensor) -> Tensor:
        return raw.clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        return (raw + (0.5 * self.logvar).exp() * noise_like(raw, generator)).clamp(0, 1)


@final
class GaussianOptimal(Likelihood):
    """One variance for all pixels, at each step the one under which the batch is likeliest (2006.13202, §3.2, eq. 8).

    That is the batch's mean squared error. It needs no learning rate, and its gradient is zero at the optimum, so the
    cost's gradient is that of P/2 log MSE (P numbers in an image). Afterwards the variance is a moving average over
    training batches, as batch normalisation keeps its own.
    """

    name: ClassVar[str] = "gaussian_optimal"
    unbounded: ClassVar[bool] = True
    variance: Tensor

    def __init__(self, summary: DataSummary) -> None:
        super().__init__()
        numbers = summary.channels * summary.height * summary.width
        self.register_buffer("variance", torch.tensor(summary.total_variance / numbers))

    def logvar(self, raw: Tensor, x: Tensor) -> Tensor:
        """Logarithm of the variance of a batch of images while training, else of the moving average: 0-dim."""
        if self.training:
            error = (x - raw).detach().square().mean()
            self.variance.lerp_(error.to(self.variance), AVERAGED)
            return bounded_below(error.log())
        return bounded_below(self.variance.log())

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return gaussian_cost(raw, self.logvar(raw, x), x)

    def mean(self, raw: Tensor) -> Tensor:
        return raw.clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        deviation = (0.5 * bounded_below(self.variance.log())).exp()
        return (raw + deviation * noise_like(raw, generator)).clamp(0, 1)


@final
class GaussianPixel(Likelihood):
    """The decoder also gives the log variance of each pixel: N(μ(z), diag σ²(z)), Kingma & Welling 1312.6114, C.2."""

    name: ClassVar[str] = "gaussian_pixel"
    unbounded: ClassVar[bool] = True
    maps = 2

    def parameters_of(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, [B, C, H, W] each."""
        center, logvar = raw.chunk(2, dim=1)
        return center, bounded_below(logvar)

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return gaussian_cost(*self.parameters_of(raw), x)

    def mean(self, raw: Tensor) -> Tensor:
        return self.parameters_of(raw)[0].clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        center, logvar = self.parameters_of(raw)
        return (center + (0.5 * logvar).exp() * noise_like(center, generator)).clamp(0, 1)
