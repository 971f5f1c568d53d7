"""The maximum mean discrepancy between codes and the prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from study.config import TrialConfig
from study.model.autoencoder import Autoencoder, Posterior
from study.model.divergences import squared_mmd
from study.model.regularizers.base import Regularizer, draw_prior


@final
class MMD(Regularizer):
    """Unbiased squared MMD between a batch's codes and as many prior draws (WAE-MMD, 1711.01558, algorithm 2)."""

    name: ClassVar[str] = "mmd"
    methods: ClassVar[Mapping[str, str]] = {"deterministic": "WAE-MMD", "gaussian": "WAE-MMD Gaussian"}
    styles: ClassVar[Mapping[str, tuple[str, str]]] = {
        "WAE-MMD": ("#D55E00", "^"),
        "WAE-MMD Gaussian": ("#E69F00", "v"),
    }
    weight_range: ClassVar[tuple[float, float]] = (3e-3, 10.0)
    first_weight: ClassVar[float] = 0.3
    uses_kernel: ClassVar[bool] = True

    def __init__(self, config: TrialConfig) -> None:
        super().__init__(config)
        self.kernel = config.kernel

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        return squared_mmd(z, draw_prior(z, generator), self.kernel)
