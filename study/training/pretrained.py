"""What is trained before a trial and stays as it is while the trial trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Parts that trials of one data set share; None where a trial does not need them.

    Attributes:
        first_stage: State of the trained first stage, for `network=stacked`.
        codes: What that stage makes of the training images, float [N, 10, h, w].
        features: Frozen feature extractor of the perceptual term, images [B, C, H, W] -> [B, F].
    """

    first_stage: Mapping[str, Tensor] | None = None
    codes: Tensor | None = None
    features: Callable[[Tensor], Tensor] | None = None
