"""Black and white pixels."""

from __future__ import annotations

from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor

from study.model.likelihoods.base import Likelihood


@final
class Bernoulli(Likelihood):
    """Binary cross-entropy. Grey values count as probabilities, and the decoder outputs logits.

    It is the log probability of black and white pixels. Of grey ones it is no density: it does not integrate to 1.
    """

    name: ClassVar[str] = "bernoulli"

    def cost(self, raw: Tensor, x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(raw, x, reduction="none").flatten(1).sum(dim=1)

    def mean(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()

    def draw(self, raw: Tensor, generator: torch.Generator | None, scale: float = 1.0) -> Tensor:
        return torch.bernoulli(raw.sigmoid(), generator=generator)
