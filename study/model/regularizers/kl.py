"""The KL divergence of the posterior to the prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from study.model.autoencoder import Autoencoder, Posterior
from study.model.divergences import gaussian_kl
from study.model.regularizers.base import Regularizer


@final
class KL(Regularizer):
    """KL divergence of each posterior to the prior, nats per image (VAE, 1312.6114; its weight is the β of β-VAE)."""

    name: ClassVar[str] = "kl"
    methods: ClassVar[Mapping[str, str]] = {"gaussian": "VAE"}
    styles: ClassVar[Mapping[str, tuple[str, str]]] = {"VAE": ("#0072B2", "s")}
    weight_range: ClassVar[tuple[float, float]] = (3e-4, 0.3)
    first_weight: ClassVar[float] = 0.01
    is_kl: ClassVar[bool] = True

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        assert posterior.logvar is not None
        return gaussian_kl(posterior.mu, posterior.logvar).mean()
