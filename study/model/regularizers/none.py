"""No penalty: the plain autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from study.model.autoencoder import Autoencoder, Posterior
from study.model.regularizers.base import Regularizer


@final
class NoPenalty(Regularizer):
    """Zero: a plain autoencoder."""

    name: ClassVar[str] = "none"
    methods: ClassVar[Mapping[str, str]] = {"deterministic": "AE", "gaussian": "Gaussian AE"}
    styles: ClassVar[Mapping[str, tuple[str, str]]] = {"AE": ("#000000", "o"), "Gaussian AE": ("#000000", "p")}
    is_made_for_normal: ClassVar[bool] = False

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        return z.new_zeros(())
