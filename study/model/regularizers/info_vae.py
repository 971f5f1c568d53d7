"""The KL divergence and the MMD together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from study.config import TrialConfig
from study.model.autoencoder import Autoencoder, Posterior
from study.model.divergences import gaussian_kl, squared_mmd
from study.model.regularizers.base import Regularizer, draw_prior


@final
class InfoVAE(Regularizer):
    """KL + `mmd_factor` squared MMD, nats per image: eq. 6 of 1706.02262 with α = 0; 10 is λ = 11.

    One weight scales both. On its own the MMD is best at about thirty times the KL's weight (`first_weight` of
    both), so the factor brings both to one order of magnitude.
    """

    name: ClassVar[str] = "info_vae"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"mmd_factor": (0, 1e6)}
    methods: ClassVar[Mapping[str, str]] = {"gaussian": "InfoVAE"}
    styles: ClassVar[Mapping[str, tuple[str, str]]] = {"InfoVAE": ("#56B4E9", "D")}
    weight_range: ClassVar[tuple[float, float]] = (1e-4, 0.1)
    first_weight: ClassVar[float] = 0.003
    uses_kernel: ClassVar[bool] = True

    def __init__(self, config: TrialConfig, mmd_factor: float = 10.0) -> None:
        super().__init__(config)
        self.kernel, self.mmd_factor = config.kernel, mmd_factor

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        assert posterior.logvar is not None
        mmd = squared_mmd(z, draw_prior(z, generator), self.kernel)
        return gaussian_kl(posterior.mu, posterior.logvar).mean() + self.mmd_factor * mmd
