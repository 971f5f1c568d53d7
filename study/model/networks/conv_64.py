"""Two convolutions of 64 channels, and the same encoder with a decoder of low capacity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn as nn

from study.components import Network
from study.model.layers import perceptron
from study.model.networks.mlp import Mlp500
from study.model.sizes import NetworkSize, pad_and_crop


@final
@dataclass(frozen=True)
class Conv64(Network):
    """Two convolutions (64 channels, 4x4, stride 2) and 256 units before the code, mirrored after it. Ignores `hidden`.

    Sides that are not multiples of 4 are padded with black and cropped again.
    """

    name: ClassVar[str] = "conv_64"

    def build(self, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
        pad, crop, height, width = pad_and_crop(size.height, size.width, 4)
        features = (64, height // 4, width // 4)
        encoder = nn.Sequential(
            pad,
            nn.Conv2d(size.channels, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            perceptron([math.prod(features), 256, size.encoder_outputs]),
        )
        decoder = nn.Sequential(
            perceptron([size.latent_dim, 256, math.prod(features)]),
            nn.ReLU(),
            nn.Unflatten(1, features),
            nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, size.decoder_channels, 4, stride=2, padding=1),
            crop,
        )
        return encoder, decoder


@final
@dataclass(frozen=True)
class Conv64Mlp(Network):
    """The encoder of `conv_64` and the decoder of `mlp_500`, which is of low capacity. Ignores `hidden`."""

    name: ClassVar[str] = "conv_64_mlp"

    def build(self, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
        return Conv64().build(size)[0], Mlp500().build(size)[1]
