"""The length of codes, and the decoder's weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from study.config import TrialConfig
from study.model.autoencoder import Autoencoder, Posterior
from study.model.regularizers.base import Regularizer


@final
class RAEL2(Regularizer):
    """Half the squared length of the code, plus weight decay on the decoder (RAE-L2, 1903.12436, eq. 11).

    Without the decay a decoder compensates for smaller codes with larger weights.
    """

    name: ClassVar[str] = "rae_l2"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"decoder_decay": (0, 1e3)}
    methods: ClassVar[Mapping[str, str]] = {"deterministic": "RAE-L2"}
    styles: ClassVar[Mapping[str, tuple[str, str]]] = {"RAE-L2": ("#CC79A7", "h")}
    weight_range: ClassVar[tuple[float, float]] = (1e-4, 1.0)
    first_weight: ClassVar[float] = 0.001
    is_made_for_normal: ClassVar[bool] = False

    def __init__(self, config: TrialConfig, decoder_decay: float = 1e-3) -> None:
        super().__init__(config)
        self.decoder_decay = decoder_decay

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        decay = torch.stack([parameter.square().sum() for parameter in model.decoder.parameters()]).sum()
        return 0.5 * z.square().sum(dim=1).mean() + self.decoder_decay * 0.5 * decay
