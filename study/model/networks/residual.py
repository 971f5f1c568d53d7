"""Residual networks whose code is a map [c, h, w]: the encoder and decoder of a latent diffusion model, made small.

After the first stage of Rombach et al. (2112.10752), without attention: residual blocks of group
normalisation, SiLU and convolutions, and strided convolutions between them. Its factor f says how many times smaller
the map is than the image. The first convolution already halves the image, so that no block runs at full size: that is
what lets one core train it.

Outside the network a code stays a vector [B, d] with d = c h w, channel after channel. So everything that works on
vectors works on maps.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn as nn
from torch import Tensor

from study.components import Network
from study.model.sizes import NetworkSize, pad_and_crop

GROUP_CHANNELS = 16
"""Channels that are normalised together (Wu & He 1803.08494). In a map of one pixel, fewer would leave few numbers."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation in groups of about 16 channels, or of all if there are fewer."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // GROUP_CHANNELS)), channels)


@final
class ResidualBlock(nn.Module):
    """x + F(x), with F two times group normalisation, SiLU and a 3x3 convolution: [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            group_norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            group_norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def residual(size: NetworkSize, factor: int) -> tuple[nn.Module, nn.Module]:
    """One residual block after each halving of the image on the way to a code map, and mirrored on the way back.

    `hidden` channels after the first halving; they double with each further one. Images whose sides are no multiples
    of the factor are padded with black and the output is cropped.

    Args:
        size: The sizes. `latent_dim` is the number of units of the whole map, a multiple of its pixels: see
            `TrialConfig.code_map`, which says so when a model is built.
        factor: By how much the map is smaller than the (padded) image: a power of two, at least 2.
    """
    pad, crop, height, width = pad_and_crop(size.height, size.width, factor)
    height, width = height // factor, width // factor
    channels = [size.hidden * 2**level for level in range(int(math.log2(factor)))]
    down: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise([size.channels, *channels]):
        down += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), ResidualBlock(outputs)]
    up: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(channels[::-1]):
        up += [ResidualBlock(inputs), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)]
    encoder = nn.Sequential(
        pad,
        *down,
        group_norm(channels[-1]),
        nn.SiLU(),
        nn.Conv2d(channels[-1], size.encoder_outputs // (height * width), 3, padding=1),  # [B, c or 2c, h, w]
        nn.Flatten(),  # The means of all units come before the log variances, as they must.
    )
    decoder = nn.Sequential(
        nn.Unflatten(1, (size.latent_dim // (height * width), height, width)),
        nn.Conv2d(size.latent_dim // (height * width), channels[-1], 3, padding=1),
        *up,
        ResidualBlock(channels[0]),
        group_norm(channels[0]),
        nn.SiLU(),
        nn.ConvTranspose2d(channels[0], size.decoder_channels, 4, stride=2, padding=1),
        crop,
    )
    return encoder, decoder


@final
@dataclass(frozen=True)
class ResidualF4(Network):
    """A map a quarter as high and wide as the image, see `residual`."""

    name: ClassVar[str] = "residual_f4"
    downsampling: ClassVar[int] = 4

    def build(self, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
        return residual(size, 4)


@final
@dataclass(frozen=True)
class ResidualF8(Network):
    """A map an eighth as high and wide as the image, see `residual`."""

    name: ClassVar[str] = "residual_f8"
    downsampling: ClassVar[int] = 8

    def build(self, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
        return residual(size, 8)
