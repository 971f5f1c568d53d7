"""The parts of a trial that are trained before it and do not change while it trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Parts that the trials of a data set share. A part is None if the trial does not need it.

    Attributes:
        first_stage: State of the trained first stage, for networks that read codes.
        codes: That stage's codes of the training images, float [N, 10, h, w].
        features: Frozen feature extractor of the perceptual term, images [B, C, H, W] -> [B, F].
    """

    first_stage: Mapping[str, Tensor] | None = None
    codes: Tensor | None = None
    features: Callable[[Tensor], Tensor] | None = None
