"""The Laplace density: absolute errors."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from study.model.likelihoods.base import Likelihood, from_tanh


class Laplace(Likelihood):
    """Scale s: the sum of absolute errors, which favours blur less than squared errors do."""

    name: ClassVar[str] = "laplace"
    unbounded: ClassVar[bool] = True
    constant = math.log(2)
    scale_nats = 1.0

    def center(self, raw: Tensor) -> Tensor:
        """The density's centre, [B, C, H, W]."""
        return raw

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return (x - self.center(raw)).abs().flatten(1).sum(dim=1)

    def mean(self, raw: Tensor) -> Tensor:
        return self.center(raw).clamp(0, 1)

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        waits = torch.empty((2, *raw.shape), device=raw.device, dtype=raw.dtype).exponential_(generator=generator)
        noise = waits[0] - waits[1]  # the difference of two exponentials is Laplace
        return (self.center(raw) + scale * noise).clamp(0, 1)


@final
class LaplaceTanh(Laplace):
    """`laplace` around 1/2 + tanh/2 of the decoder's output."""

    name: ClassVar[str] = "laplace_tanh"
    unbounded: ClassVar[bool] = False

    def center(self, raw: Tensor) -> Tensor:
        return from_tanh(raw)
