"""Encoders and decoders for images of any size.

A network is a pair of modules: an encoder [B, C, H, W] -> [B, encoder_outputs], and a decoder [B, latent_dim] ->
[B, decoder_channels, H, W], whose unbounded output the likelihood turns into an image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch.nn as nn

from study.code_map import DOWNSAMPLING
from study.config import TrialConfig, UserError
from study.model.residual import residual
from study.model.sizes import NetworkSize, pad_and_crop

Build = Callable[[NetworkSize], tuple[nn.Module, nn.Module]]


def perceptron(sizes: list[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of the given sizes, with an activation between them but not at the end."""
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
    """Two hidden layers of `hidden` units on either side: small, and fast on a CPU."""
    return _mlp(size, [size.hidden] * 2, [size.hidden] * 2)


def conv(size: NetworkSize) -> tuple[nn.Module, nn.Module]:
    """Strided convolutions that double the channels, down to at most 8 pixels a side, and the same way back.

    If an image's sides are not multiples of the total stride, it is padded with black and the output is cropped.
    """
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


def mlp_500(size: NetworkSize) -> tuple[nn.Module, nn.Module]:
    """Two hidden layers of 500 units before the code and one after it: a decoder of low capacity. Ignores `hidden`."""
    return _mlp(size, [500, 500], [500])


def conv_64(size: NetworkSize) -> tuple[nn.Module, nn.Module]:
    """Two convolutions (64 channels, 4x4, stride 2) and 256 units before the code, mirrored after it. Ignores `hidden`.

    Sides that are not multiples of 4 are padded with black and cropped again.
    """
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


def conv_64_mlp(size: NetworkSize) -> tuple[nn.Module, nn.Module]:
    """The encoder of `conv_64` and the decoder of `mlp_500`, which is of low capacity. Ignores `hidden`."""
    return conv_64(size)[0], mlp_500(size)[1]


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


def deep(size: NetworkSize) -> tuple[nn.Module, nn.Module]:
    """Double convolutions with batch normalisation and GELU, halving the image down to 4x4 (`hidden` 8 for 256x256).

    Channels double at each of the log2(side) - 2 levels. Images are padded with black to the next power of two.

    Raises:
        UserError: A side is above 256 pixels.
    """
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
    return encoder, decoder


def latent_critic(latent_dim: int, hidden: int) -> nn.Module:
    """Logit that a code [B, d] was drawn from the prior, [B, 1]: four hidden layers (1711.01558, appendix)."""
    return perceptron([latent_dim, *[hidden] * 4, 1])


def build_network(config: TrialConfig, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
    """The encoder and decoder that a trial names.

    Raises:
        UserError: `network` is neither in `NETWORKS` nor a component of the space.
    """
    if config.network in config.components.of_kind("network"):
        return config.build("network", {}).build(size)
    return config.build("network", NETWORKS, size)


NETWORKS: dict[str, Build] = {
    "mlp": mlp,
    "mlp_500": mlp_500,
    "conv": conv,
    "conv_64": conv_64,
    "conv_64_mlp": conv_64_mlp,
    "deep": deep,
    "residual_f4": partial(residual, factor=DOWNSAMPLING["residual_f4"]),
    "residual_f8": partial(residual, factor=DOWNSAMPLING["residual_f8"]),
    "stacked": mlp,  # on the codes of a first stage, see `study.model.stacked`
}
