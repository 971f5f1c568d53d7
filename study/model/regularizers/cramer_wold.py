"""The Cramér–Wold distance between codes and the prior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from study.model.autoencoder import Autoencoder, Posterior
from study.model.regularizers.base import Regularizer


@final
class CramerWold(Regularizer):
    """Squared Cramér–Wold distance between a batch's codes and N(0, I) (CWAE, 1805.09235, eq. 9), in closed form.

    Both are projected on a direction and smoothed with a Gaussian; their squared L2 distance is averaged over all
    directions. The average is replaced by its limit for many dimensions, as in the paper; with one unit it is exact.
    The paper trains on its logarithm, which has no weight of its own; here it is weighted like the other penalties.
    """

    name: ClassVar[str] = "cramer_wold"
    methods: ClassVar[Mapping[str, str]] = {"deterministic": "CWAE", "gaussian": "CWAE Gaussian"}
    styles: ClassVar[Mapping[str, tuple[str, str]]] = {"CWAE": ("#882255", "d"), "CWAE Gaussian": ("#882255", "*")}
    weight_range: ClassVar[tuple[float, float]] = (3e-3, 100.0)
    first_weight: ClassVar[float] = 1.0

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        width = (4 / (3 * len(z))) ** 0.4  # variance of the smoothing: Silverman's rule
        dim = z.shape[1]
        between = _smoothed((z[:, None] - z).square().sum(dim=2), width, dim).mean()
        to_prior = _smoothed(z.square().sum(dim=1), width + 0.5, dim).mean()
        return (between + (1 + width) ** -0.5 - 2 * to_prior) / (2 * math.sqrt(math.pi))


def _smoothed(squared_distance: Tensor, variance: float, dim: int) -> Tensor:
    """Mean over directions of exp(-projected distance² / 4 variance) / sqrt(variance), shaped like the distances."""
    if dim == 1:
        return torch.exp(-squared_distance / (4 * variance)) / math.sqrt(variance)
    return (variance + squared_distance / (2 * dim - 3)).rsqrt()
