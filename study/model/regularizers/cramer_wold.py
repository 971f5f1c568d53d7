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
    directions. Up to three units the average is exact. Beyond, it is replaced by its limit for many units, as in the
    paper: with four to eight, the codes that minimise it have .95 of the prior's deviation. The paper trains on its
    logarithm, which has no weight of its own; here it is weighted like the other penalties.
    """

    name: ClassVar[str] = "cramer_wold"
    methods: ClassVar[Mapping[str, str]] = {"deterministic": "CWAE", "gaussian": "CWAE Gaussian"}
    styles: ClassVar[Mapping[str, tuple[str, str]]] = {"CWAE": ("#882255", "d"), "CWAE Gaussian": ("#882255", "*")}
    weight_range: ClassVar[tuple[float, float]] = (3e-3, 100.0)
    first_weight: ClassVar[float] = 1.0

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        width = (4 / (3 * len(z))) ** 0.4  # variance of the smoothing: Silverman's rule
        dim = z.shape[1]
        apart = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist").square()  # [B, B]
        between = _smoothed(apart, width, dim).mean()
        to_prior = _smoothed(z.square().sum(dim=1), width + 0.5, dim).mean()
        return (between + (1 + width) ** -0.5 - 2 * to_prior) / (2 * math.sqrt(math.pi))


def _smoothed(squared_distance: Tensor, variance: float, dim: int) -> Tensor:
    """Mean over directions of exp(-projected distance² / 4 variance) / sqrt(variance), shaped like the distances.

    With s = distance² / 4 variance it is the confluent hypergeometric 1F1(1/2; dim/2; -s), over sqrt(variance).
    """
    if dim > 3:
        return (variance + squared_distance / (2 * dim - 3)).rsqrt()
    s = squared_distance / (4 * variance)
    if dim == 1:
        mean = torch.exp(-s)
    elif dim == 2:
        mean = torch.special.i0e(s / 2)
    else:
        root = s.clamp(min=1e-2).sqrt()  # below, erf(root) / root loses its digits, and its slope is no number
        mean = torch.where(s < 1e-2, 1 - s / 3 + s.square() / 10, math.sqrt(math.pi) / 2 * torch.erf(root) / root)
    return mean / math.sqrt(variance)
