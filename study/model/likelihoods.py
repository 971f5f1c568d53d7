"""Reconstruction terms: how the decoder's output becomes an image, and what a difference costs in nats.

Each is the negative log-likelihood of an image, so that a weight means the same for every method at one likelihood.
Where its scale is fixed, the constant that no parameter moves is left out of the loss and kept in `constant`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import final

import torch
import torch.nn as nn
from torch import Tensor

from study.config import DataSummary, TrialConfig, UserError


class Likelihood(nn.Module, ABC):
    """p(x|z) of an image, given the decoder's raw output.

    Attributes:
        maps: Raw maps per colour channel that the decoder must give.
        constant: Nats per pixel and channel left out of `cost`.
    """

    maps: int = 1
    constant: float = 0.0

    @abstractmethod
    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        """Negative log-likelihood less its constant: raw [B, maps*C, H, W], x [B, C, H, W] -> [B], nats."""

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """The mean image, [B, C, H, W] in [0, 1]."""

    @abstractmethod
    def draw(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:
        """One draw from p(x|z), clipped to [0, 1], [B, C, H, W]."""


@final
class Gaussian(Likelihood):
    """Unit variance: half the sum of squared errors."""

    constant = 0.5 * math.log(2 * math.pi)

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return 0.5 * (raw - x).square().flatten(1).sum(dim=1)

    def mean(self, raw: Tensor) -> Tensor:
        return raw.clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(raw.shape, generator=generator, device=raw.device)
        return (raw + noise).clamp(0, 1)


def build_likelihood(config: TrialConfig, summary: DataSummary) -> Likelihood:
    """The likelihood a trial asks for.

    Raises:
        UserError: `likelihood` is not a name in `LIKELIHOODS`.
    """
    if config.likelihood not in LIKELIHOODS:
        raise UserError(f"likelihood={config.likelihood!r}: choose from {', '.join(LIKELIHOODS)}")
    return LIKELIHOODS[config.likelihood]()


LIKELIHOODS: dict[str, type[Likelihood]] = {"gaussian": Gaussian}
