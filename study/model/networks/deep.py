"""Double convolutions with batch normalisation."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn as nn

from study.components import Network
from study.errors import UserError
from study.model.sizes import NetworkSize, pad_and_crop


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),  # batch normalisation would remove a bias
        nn.BatchNorm2d(outputs),
        nn.GELU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.MaxPool2d(2),
        nn.GELU(),
    ]


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.BatchNorm2d(inputs),
        nn.GELU(),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Conv2d(inputs, inputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(inputs),
        nn.GELU(),
        nn.Conv2d(inputs, outputs, 3, padding=1),
    ]


@final
@dataclass(frozen=True)
class Deep(Network):
    """Double convolutions with batch normalisation and GELU, halving the image down to 4x4 (`hidden` 8 for 256x256).

    Channels double at each of the log2(side) - 2 levels. Images are padded with black to the next power of two.

    Raises:
        UserError: A side is above 256 pixels.
    """

    name: ClassVar[str] = "deep"

    def build(self, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
        longest = max(size.height, size.width)
        if longest > 256:
            raise UserError(f"network=deep: images of {size.height}x{size.width} are too large, 256x256 at most")
        side = max(8, 2 ** math.ceil(math.log2(longest)))
        pad, crop, _, _ = pad_and_crop(size.height, size.width, side)
        levels = int(math.log2(side)) - 2
        channels = [size.hidden * 2**level for level in range(levels)]
        back = [channels[-1], *(max(width, 2 * size.hidden) for width in channels[-2::-1]), size.decoder_channels]
        features = (channels[-1], 4, 4)
        encoder = nn.Sequential(
            pad,
            *itertools.chain(*itertools.starmap(_down, itertools.pairwise([size.channels, *channels]))),
            nn.Flatten(),
            nn.Linear(math.prod(features), size.encoder_outputs),
        )
        decoder = nn.Sequential(
            nn.Linear(size.latent_dim, math.prod(features)),
            nn.GELU(),
            nn.Unflatten(1, features),
            *itertools.chain(*itertools.starmap(_up, itertools.pairwise(back))),
            crop,
        )
        # With the channels last, one core trains about 1.5 times as fast (`benchmarks.trainer --only memory`).
        return encoder.to(memory_format=torch.channels_last), decoder.to(memory_format=torch.channels_last)
