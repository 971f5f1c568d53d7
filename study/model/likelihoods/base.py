"""Reconstruction terms: how the decoder's raw output becomes an image, and what an error costs in nats.

Each is the negative log-likelihood of an image, so that at one likelihood a weight means the same for every method. The
decoder's output is the mean itself, clipped only when an image is shown. Compared with a sigmoid on digits and MNIST,
plain autoencoders reached 8-20 % less error, codes had the prior's size, and training cannot die at the flat end of the
sigmoid on mostly black images. The `_tanh` variants bound the output.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from study.config import DataSummary

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

    One class, built in or of a space's own, says everything about itself and is built from the data's summary. What its
    `__init__` takes beside that, with a type and a default, are its hyperparameters.

    Attributes:
        name: What `likelihood` is called in trials.
        ranges: Least and largest value of hyperparameters, if they have any.
        unbounded: Whether its mean may leave [0, 1] before an image is shown, as the codes of a first stage do.
        maps: Raw maps per colour channel that the decoder must output.
        constant: Nats per pixel and channel that do not depend on parameters, at s = 1. `cost` leaves them out.
        scale_nats: By how many nats per pixel and channel the constant grows with log s; None if s is always 1.
    """

    kind: ClassVar[str] = "likelihood"
    name: ClassVar[str]
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    unbounded: ClassVar[bool] = False
    maps: int = 1
    constant: float = 0.0
    scale_nats: float | None = None

    def __init__(self, *summary: DataSummary) -> None:
        """Takes the data's summary or nothing: most likelihoods need none of it."""
        super().__init__()

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


def gaussian_cost(center: Tensor, logvar: Tensor, x: Tensor) -> Tensor:
    """-log N(x; center, exp(logvar)) summed over pixels, constants included: [B], nats."""
    return (HALF_LOG_TWO_PI + 0.5 * (logvar + (x - center).square() * (-logvar).exp())).flatten(1).sum(dim=1)


def noise_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws from N(0, 1), shaped like a tensor."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def bounded_below(logvar: Tensor) -> Tensor:
    """The log variance, kept above `LOWEST_LOGVAR` smoothly, so that a gradient remains there."""
    return LOWEST_LOGVAR + F.softplus(logvar - LOWEST_LOGVAR)


def from_tanh(raw: Tensor) -> Tensor:
    """A number in (0, 1) from an unbounded one."""
    return 0.5 + 0.5 * torch.tanh(raw)
