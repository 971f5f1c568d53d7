"""Strided convolutions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn as nn

from study.components import Network
from study.model.sizes import NetworkSize, pad_and_crop


@final
@dataclass(frozen=True)
class Conv(Network):
    """Strided convolutions that double the channels, down to at most 8 pixels a side, and the same way back.

    If an image's sides are not multiples of the total stride, it is padded with black and the output is cropped.
    """

    name: ClassVar[str] = "conv"

    def build(self, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
        downs = 1
        while max(size.height, size.width) > 8 * 2**downs:
            downs += 1
        pad, crop, height, width = pad_and_crop(size.height, size.width, 2**downs)
        height, width = height // 2**downs, width // 2**downs
        channels = [size.hidden * 2**level for level in range(downs)]
        down: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise([size.channels, *channels]):
            down += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.ReLU()]
        up: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise([*channels[::-1], size.decoder_channels]):
            up += [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)]
        features = channels[-1] * height * width
        encoder = nn.Sequential(pad, *down, nn.Flatten(), nn.Linear(features, size.encoder_outputs))
        decoder = nn.Sequential(
            nn.Linear(size.latent_dim, features), nn.Unflatten(1, (channels[-1], height, width)), *up, crop
        )
        return encoder, decoder
