"""Checks an instrument on the user's own data before a study trusts it.

A network can die unnoticed: every feature constant, every model's FID 0. Or it sees nothing of what samples lack. So
each instrument must have live features, tell the classes apart better than chance (if it was trained to), and its
score must rise with blur, noise and shuffled quarters of real training images.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from study.config import UserError
from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.measure.comparison import FeatureSet
from study.measure.distortions import REFERENCE_SIDE, blur

LEAST_LIVE = 0.5
"""Share of the features that must vary."""
LEAST_SKILL = 0.1
"""Share of the way from chance to certainty that the accuracy must cover."""
LEAST_RISE = 2.0
"""The worst step of a ladder must score this many times what real images do."""
_IMAGES = 2_000
_DEAD = 1e-3
"""A feature is dead if it varies less than this share of the liveliest."""

Extract = Callable[[Tensor], np.ndarray]
"""Stored images [N, C, H, W] -> features [N, d]."""


class Examination(NamedTuple):
    """What was found out about an instrument.

    Attributes:
        live: Share of its features that vary over training images.
        chance: Share of the validation images in the largest class.
        ladders: Scores by change, from untouched training images to the worst step.
        faults: What is wrong, in words; empty for an instrument that can be used.
    """

    live: float
    chance: float
    ladders: dict[str, list[float]]
    faults: tuple[str, ...]


def examine(extract: Extract, data: ImageData, accuracy: float | None) -> Examination:
    """Examines an instrument.

    Args:
        extract: Its features.
        data: The data set.
        accuracy: Of its networks on the validation split; None if they know no classes.
    """
    real, validation = data.train.first(_IMAGES).images.cpu(), data.validation.first(_IMAGES)
    found = extract(real)
    live = live_share(found)
    chance = float(torch.bincount(validation.labels.cpu()).max()) / len(validation)
    faults = []
    if live < LEAST_LIVE:
        faults.append(f"only {100 * live:.0f} % of its features vary")
    if accuracy is not None and accuracy < chance + LEAST_SKILL * (1 - chance):
        faults.append(f"its accuracy is {100 * accuracy:.0f} %, chance {100 * chance:.0f} %")
    ladders: dict[str, list[float]] = {}
    if live > 0:
        reference = FeatureSet(extract(validation.images))
        begin = reference.fid(FeatureSet(found))
        for name, steps in _ladders(real).items():
            ladders[name] = [begin, *(reference.fid(FeatureSet(extract(step))) for step in steps)]
            rises = all(low < high for low, high in itertools.pairwise(ladders[name]))
            if not rises or ladders[name][-1] < LEAST_RISE * begin:
                faults.append(f"its score does not rise with {name}")
    return Examination(live, chance, ladders, tuple(faults))


def live_share(features: np.ndarray) -> float:
    """Share of features [N, d] that vary; 0 if one of them is not finite."""
    deviations = features.std(0, dtype=np.float64)
    if not np.isfinite(deviations).all() or deviations.max() < 1e-9:
        return 0.0
    return float((deviations > _DEAD * deviations.max()).mean())


def require_live(name: str, features: np.ndarray) -> None:
    """Checks that a network sees anything at all: else every model would score 0.

    Raises:
        UserError: No feature varies over training images.
    """
    if live_share(features) == 0:
        raise UserError(
            f"feature network {name} gives every image the same features: give another with --feature-network"
        )


def _ladders(images: Tensor) -> dict[str, list[Tensor]]:
    """Stored training images, changed more and more."""
    real = as_float(images)
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(1))
    scale = max(0.6, images.shape[2] / REFERENCE_SIDE)
    half = (images.shape[2] // 2, images.shape[3] // 2)

    def quarters(share: float) -> Tensor:
        count = round(share * len(images))
        return torch.cat([images[:count].roll(half, dims=(2, 3)), images[count:]])

    def as_bytes(x: Tensor) -> Tensor:
        return (x.clamp(0, 1) * 255).round().byte()

    return {
        "blur": [as_bytes(blur(real, sigma * scale)) for sigma in (1.2, 2.0, 3.0)],
        "noise": [as_bytes(real + sigma * noise) for sigma in (0.2, 0.4, 0.8)],
        "shuffled quarters": [quarters(share) for share in (0.25, 0.5, 1.0)],
    }
