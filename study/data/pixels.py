"""What a stored pixel means: the one place that turns stored images into what models and metrics read."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_BLOCK = 256
"""Images that are looked at together."""


def as_float(images: Tensor) -> Tensor:
    """Stored images as float in [0, 1].

    Args:
        images: uint8, of which 255 is white; or float in [0, 1], which stays as it is and is not copied. Images of more
            than eight bits are stored so.
    """
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def as_exact_bytes(values: np.ndarray, rounding: float = 1.2e-7) -> np.ndarray | None:
    """Floats in [0, 1] as uint8 if each is one of the 256 levels that bytes have; else None.

    Args:
        values: [N, ...].
        rounding: How far each may be from its level. The default is that of float32.
    """
    found = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        levels = np.rint(block.astype(np.float64) * 255)
        if (np.abs(levels / 255 - block) > rounding).any():
            return None
        found[start : start + _BLOCK] = levels
    return found
