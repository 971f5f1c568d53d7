"""Encoders and decoders for images of any size.

A network is a pair of modules: an encoder [B, C, H, W] -> [B, encoder_outputs], and a decoder [B, latent_dim] ->
[B, decoder_channels, H, W] whose output is unbounded: the likelihood turns it into an image.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import torch.nn as nn


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSize:
    """The sizes a network is built for.

    Attributes:
        channels: Colour channels of an image.
        height: Pixels.
        width: Pixels.
        latent_dim: Size of the code, d.
        encoder_outputs: d, or 2d where the encoder also gives a log variance.
        decoder_channels: Maps the likelihood asks of the decoder: C, or 2C.
        hidden: `TrialConfig.width`: units of a hidden layer, or channels of the first convolution.
    """

    channels: int
    height: int
    width: int
    latent_dim: int
    encoder_outputs: int
    decoder_channels: int
    hidden: int


Network = Callable[[NetworkSize], tuple[nn.Module, nn.Module]]


def perceptron(sizes: list[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of the given sizes with an activation between them, none at the end."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def _mlp(size: NetworkSize, encoder_hidden: list[int], decoder_hidden: list[int]) -> tuple[nn.Module, nn.Module]:
    area = size.height * size.width
    encoder = nn.Sequential(
        nn.Flatten(), perceptron([size.channels * area, *encoder_hidden, size.encoder_outputs])
    )  # [B, C, H, W] -> [B, CHW] -> [B, outputs]
    decoder = nn.Sequential(
        perceptron([size.latent_dim, *decoder_hidden, size.decoder_channels * area]),
        nn.Unflatten(1, (size.decoder_channels, size.height, size.width)),
    )
    return encoder, decoder


def mlp(size: NetworkSize) -> tuple[nn.Module, nn.Module]:
    """Two hidden layers of `hidden` units on either side: small, and quick on a CPU."""
    return _mlp(size, [size.hidden] * 2, [size.hidden] * 2)


def _padding(size: NetworkSize, multiple: int) -> tuple[nn.Module, nn.Module, int, int]:
    """Modules that pad an image to a multiple of a size with black and crop it again, and the padded height, width."""
    extra_height, extra_width = -size.height % multiple, -size.width % multiple
    left, top = extra_width // 2, extra_height // 2
    margins = (left, extra_width - left, top, extra_height - top)
    left, right, top, bottom = margins
    pad = nn.ZeroPad2d(margins) if any(margins) else nn.Identity()
    crop = nn.ZeroPad2d((-left, -right, -top, -bottom)) if any(margins) else nn.Identity()  # negative padding crops
    return pad, crop, size.height + extra_height, size.width + extra_width


def conv(size: NetworkSize) -> tuple[nn.Module, nn.Module]:
    """Strided convolutions, doubling the channels, down to at most 8 pixels a side, and the same way back.

    An image whose sides are no multiple of the total stride is padded with black and its output cropped.
    """
    downs = 1
    while max(size.height, size.width) > 8 * 2**downs:
        downs += 1
    pad, crop, height, width = _padding(size, 2**downs)
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


NETWORKS: dict[str, Network] = {"mlp": mlp, "conv": conv}
