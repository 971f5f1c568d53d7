"""Reconstruction terms: how the decoder's raw output becomes an image, and what an error costs in nats.

Each is the negative log-likelihood of an image, so that at one likelihood a weight means the same for every method. The
decoder's output is the mean itself, clipped only when an image is shown. Compared with a sigmoid on digits and MNIST,
plain autoencoders reached 8-20 % less error, codes had the prior's size, and training cannot die at the flat end of the
sigmoid on mostly black images. The `_tanh` variants bound the output.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar, final

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from study.config import DataSummary, TrialConfig

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
LOWEST_LOGVAR = 2 * math.log(0.05)
"""A learned deviation stays above 0.05. Otherwise pixels that never change would make the likelihood infinite, and long
before that their gradients drown the others: with one grey level as the bound, digits trained to twice the error.
"""

AVERAGED = 0.1
"""Share of a batch in the moving average of its variance."""


class Likelihood(nn.Module, ABC):
    """p(x|z) of an image, given the decoder's raw output.

    A likelihood whose scale s is given from outside is p(x|z) ∝ exp(-cost / s): s is the variance of a Gaussian, the
    scale of a Laplace density. The others learn their variance, or have none, and their s is always 1.

    A component of a space's own derives from it and is built from the data's summary. What its `__init__` takes beside
    that, with a type and a default, are its hyperparameters.

    Attributes:
        name: What `likelihood` is called in trials.
        maps: Raw maps per colour channel that the decoder must output.
        constant: Nats per pixel and channel that do not depend on parameters, at s = 1. `cost` leaves them out.
        scale_nats: By how many nats per pixel and channel the constant grows with log s; None if s is always 1.
    """

    kind: ClassVar[str] = "likelihood"
    name: ClassVar[str]
    maps: int = 1
    constant: float = 0.0
    scale_nats: float | None = None

    @abstractmethod
    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z) at s = 1 without its constant: raw [B, maps*C, H, W], x [B, C, H, W] -> [B], nats."""

    def log_density(self, cost: Tensor, numbers: int, scale: float) -> Tensor:
        """log p(x|z), constants included.

        Args:
            cost: What `cost` gave, any shape.
            numbers: Pixels times channels of an image.
            scale: s above.

        Returns:
            Nats, float64, shaped like `cost`.
        """
        constant = self.constant + (self.scale_nats or 0.0) * math.log(scale)
        return -cost.double() / scale - constant * numbers

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """The mean image, [B, C, H, W] in [0, 1]."""

    @abstractmethod
    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        """One draw from p(x|z), clipped to [0, 1], [B, C, H, W]."""


def _gaussian_cost(center: Tensor, logvar: Tensor, x: Tensor) -> Tensor:
    """-log N(x; center, exp(logvar)) summed over pixels, constants included: [B], nats."""
    return (HALF_LOG_TWO_PI + 0.5 * (logvar + (x - center).square() * (-logvar).exp())).flatten(1).sum(dim=1)


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _bounded_below(logvar: Tensor) -> Tensor:
    """The log variance, kept above `LOWEST_LOGVAR` smoothly, so that a gradient remains there."""
    return LOWEST_LOGVAR + F.softplus(logvar - LOWEST_LOGVAR)


def _from_tanh(raw: Tensor) -> Tensor:
    return 0.5 + 0.5 * torch.tanh(raw)


@final
class Gaussian(Likelihood):
    """Variance s: half the sum of squared errors."""

    constant = HALF_LOG_TWO_PI
    scale_nats = 0.5

    def __init__(self, summary: DataSummary, *, tanh: bool = False) -> None:
        super().__init__()
        self.center = _from_tanh if tanh else nn.Identity()

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return 0.5 * (x - self.center(raw)).square().flatten(1).sum(dim=1)

    def mean(self, raw: Tensor) -> Tensor:
        return self.center(raw).clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        return (self.center(raw) + math.sqrt(scale) * _normal(raw, generator)).clamp(0, 1)


@final
class GaussianScalar(Likelihood):
    """One learned variance for all pixels (σ-VAE, 2006.13202, §3.1), starting at the data's own."""

    def __init__(self, summary: DataSummary) -> None:
        super().__init__()
        variance = summary.total_variance / (summary.channels * summary.height * summary.width)
        self.raw_logvar = nn.Parameter(torch.tensor(max(math.log(max(variance, 1e-12)), LOWEST_LOGVAR)))

    @property
    def logvar(self) -> Tensor:
        """Logarithm of the variance, 0-dim."""
        return _bounded_below(self.raw_logvar)

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return _gaussian_cost(raw, self.logvar, x)

    def mean(self, raw: Tensor) -> Tensor:
        return raw.clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        return (raw + (0.5 * self.logvar).exp() * _normal(raw, generator)).clamp(0, 1)


@final
class GaussianOptimal(Likelihood):
    """One variance for all pixels, at each step the one under which the batch is likeliest (2006.13202, §3.2, eq. 8).

    That is the batch's mean squared error. It needs no learning rate, and its gradient is zero at the optimum, so the
    cost's gradient is that of P/2 log MSE (P numbers in an image). Afterwards the variance is a moving average over
    training batches, as batch normalisation keeps its own.
    """

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
            return _bounded_below(error.log())
        return _bounded_below(self.variance.log())

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return _gaussian_cost(raw, self.logvar(raw, x), x)

    def mean(self, raw: Tensor) -> Tensor:
        return raw.clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        deviation = (0.5 * _bounded_below(self.variance.log())).exp()
        return (raw + deviation * _normal(raw, generator)).clamp(0, 1)


@final
class GaussianPixel(Likelihood):
    """The decoder also gives the log variance of each pixel: N(μ(z), diag σ²(z)), Kingma & Welling 1312.6114, C.2."""

    maps = 2

    def __init__(self, summary: DataSummary) -> None:
        super().__init__()

    def parameters_of(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, [B, C, H, W] each."""
        center, logvar = raw.chunk(2, dim=1)
        return center, _bounded_below(logvar)

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return _gaussian_cost(*self.parameters_of(raw), x)

    def mean(self, raw: Tensor) -> Tensor:
        return self.parameters_of(raw)[0].clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        center, logvar = self.parameters_of(raw)
        return (center + (0.5 * logvar).exp() * _normal(center, generator)).clamp(0, 1)


@final
class Laplace(Likelihood):
    """Scale s: the sum of absolute errors, which favours blur less than squared errors do."""

    constant = math.log(2)
    scale_nats = 1.0

    def __init__(self, summary: DataSummary, *, tanh: bool = False) -> None:
        super().__init__()
        self.center = _from_tanh if tanh else nn.Identity()

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return (x - self.center(raw)).abs().flatten(1).sum(dim=1)

    def mean(self, raw: Tensor) -> Tensor:
        return self.center(raw).clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        waits = torch.empty((2, *raw.shape), device=raw.device, dtype=raw.dtype).exponential_(generator=generator)
        noise = waits[0] - waits[1]  # the difference of two exponentials is Laplace
        return (self.center(raw) + scale * noise).clamp(0, 1)


@final
class Bernoulli(Likelihood):
    """Binary cross-entropy. Grey values count as probabilities, and the decoder outputs logits.

    It is the log probability of black and white pixels. Of grey ones it is no density: it does not integrate to 1.
    """

    def __init__(self, summary: DataSummary) -> None:
        super().__init__()

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(raw, x, reduction="none").flatten(1).sum(dim=1)

    def mean(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        return torch.bernoulli(raw.sigmoid(), generator=generator)


def total_variation(image: Tensor) -> Tensor:
    """Sum of squared differences between neighbouring pixels, [B, C, H, W] in [0, 1] -> [B].

    The other common form, `0.5 * mean` on [-1, 1], equals this one with a weight of 2 over the number of pixels.
    """
    across, down = image.diff(dim=3).square(), image.diff(dim=2).square()
    return across.flatten(1).sum(dim=1) + down.flatten(1).sum(dim=1)


def perceptual_distance(features: Callable[[Tensor], Tensor], image: Tensor, x: Tensor) -> Tensor:
    """Mean absolute difference of two images' features, times the number of pixels, [B, C, H, W] twice -> [B].

    At weight 1 a mean difference in features costs as much as the same mean difference in pixels under `laplace`.

    Args:
        features: Frozen extractor, [B, C, H, W] in [0, 1] -> [B, F]. Not the feature network.
        image: The reconstruction, which receives the gradient.
        x: The original.
    """
    with torch.no_grad():
        wanted = features(x)
    return (features(image) - wanted).abs().flatten(1).mean(dim=1) * x[0].numel()


def build_likelihood(config: TrialConfig, summary: DataSummary) -> Likelihood:
    """The likelihood that a trial names.

    Raises:
        UserError: `likelihood` is neither in `LIKELIHOODS` nor a component of the space.
    """
    return config.build("likelihood", LIKELIHOODS, summary)


LIKELIHOODS: dict[str, Callable[[DataSummary], Likelihood]] = {
    "gaussian": Gaussian,
    "gaussian_tanh": partial(Gaussian, tanh=True),
    "gaussian_scalar": GaussianScalar,
    "gaussian_optimal": GaussianOptimal,
    "gaussian_pixel": GaussianPixel,
    "laplace": Laplace,
    "laplace_tanh": partial(Laplace, tanh=True),
    "bernoulli": Bernoulli,
}
