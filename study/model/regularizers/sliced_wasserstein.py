"""The sliced Wasserstein distance between codes and the prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor

from study.config import TrialConfig
from study.model.autoencoder import Autoencoder, Posterior
from study.model.divergences import sliced_wasserstein
from study.model.regularizers.base import Regularizer, draw_prior


@final
class SlicedWasserstein(Regularizer):
    """Squared sliced Wasserstein distance between a batch's codes and as many prior draws (SWAE, 1804.01947)."""

    name: ClassVar[str] = "sliced_wasserstein"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"slices": (1, 10_000)}
    methods: ClassVar[Mapping[str, str]] = {"deterministic": "SWAE", "gaussian": "SWAE Gaussian"}
    styles: ClassVar[Mapping[str, tuple[str, str]]] = {"SWAE": ("#F0E442", "<"), "SWAE Gaussian": ("#F0E442", ">")}
    weight_range: ClassVar[tuple[float, float]] = (1e-3, 10.0)
    first_weight: ClassVar[float] = 0.3

    def __init__(self, config: TrialConfig, slices: int = 50) -> None:
        super().__init__(config)
        self.slices = slices

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        directions = torch.randn((z.shape[1], self.slices), generator=generator, device=z.device, dtype=z.dtype)
        return sliced_wasserstein(z, draw_prior(z, generator), F.normalize(directions, dim=0))
