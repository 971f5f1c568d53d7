"""Perceptrons on either side of the code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn as nn

from study.components import Network
from study.model.layers import perceptron
from study.model.sizes import NetworkSize


def mlp(size: NetworkSize, encoder_hidden: list[int], decoder_hidden: list[int]) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder with hidden layers of the given sizes."""
    area = size.height * size.width
    encoder = nn.Sequential(
        nn.Flatten(), perceptron([size.channels * area, *encoder_hidden, size.encoder_outputs])
    )  # [B, C, H, W] -> [B, CHW] -> [B, outputs]
    decoder = nn.Sequential(
        perceptron([size.latent_dim, *decoder_hidden, size.decoder_channels * area]),
        nn.Unflatten(1, (size.decoder_channels, size.height, size.width)),
    )
    return encoder, decoder


@final
@dataclass(frozen=True)
class Mlp(Network):
    """Two hidden layers of `hidden` units on either side: small, and fast on a CPU."""

    name: ClassVar[str] = "mlp"

    def build(self, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
        return mlp(size, [size.hidden] * 2, [size.hidden] * 2)


@final
@dataclass(frozen=True)
class Mlp500(Network):
    """Two hidden layers of 500 units before the code and one after it: a decoder of low capacity. Ignores `hidden`."""

    name: ClassVar[str] = "mlp_500"

    def build(self, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
        return mlp(size, [500, 500], [500])


@final
@dataclass(frozen=True)
class Stacked(Network):
    """`mlp` on the codes of a convolutional first stage, which is trained once per data set: `study.model.stacked`."""

    name: ClassVar[str] = "stacked"
    reads_codes: ClassVar[bool] = True

    def build(self, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
        return mlp(size, [size.hidden] * 2, [size.hidden] * 2)
