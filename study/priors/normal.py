"""One Gaussian."""

from __future__ import annotations

from typing import Self, final

import torch
from torch import Tensor

from study.priors.density import LOG_TWO_PI, Density


@final
class Normal(Density):
    """N(0, I) of whitened codes, so one Gaussian with the codes' mean and full covariance."""

    name = "gaussian"
    deviation: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units
        self.register_buffer("deviation", torch.ones(units))  # it says on which device and in which precision to draw

    @classmethod
    def fit(cls, train: Tensor, held_out: Tensor, seed: int) -> Self:
        return cls(train.shape[1])

    @property
    def sizes(self) -> dict[str, int]:
        return {"units": self.units}

    def log_prob(self, u: Tensor) -> Tensor:
        return -(0.5 * u.square() + 0.5 * LOG_TWO_PI).sum(dim=1)

    def sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        like = self.deviation
        return torch.randn((n, self.units), generator=generator, device=like.device, dtype=like.dtype)
