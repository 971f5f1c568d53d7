"""The sizes that a network is built for, and how an image is brought to a size that it can halve."""

from __future__ import annotations

import dataclasses

import torch.nn as nn


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSize:
    """The sizes a network is built for.

    Attributes:
        channels: Colour channels of an image.
        height: Pixels.
        width: Pixels.
        latent_dim: Size of the code, d.
        encoder_outputs: d, or 2d if the encoder also outputs a log variance.
        decoder_channels: Maps that the likelihood needs from the decoder: C, or 2C.
        hidden: `TrialConfig.width`: units of a hidden layer, or channels of the first convolution.
    """

    channels: int
    height: int
    width: int
    latent_dim: int
    encoder_outputs: int
    decoder_channels: int
    hidden: int


def pad_and_crop(height: int, width: int, multiple: int) -> tuple[nn.Module, nn.Module, int, int]:
    """Modules that pad images with black to a multiple of a size and crop them again; the padded height and width."""
    extra_height, extra_width = -height % multiple, -width % multiple
    left, top = extra_width // 2, extra_height // 2
    right, bottom = extra_width - left, extra_height - top
    if not extra_width and not extra_height:
        return nn.Identity(), nn.Identity(), height, width
    pad, crop = nn.ZeroPad2d((left, right, top, bottom)), nn.ZeroPad2d((-left, -right, -top, -bottom))  # below 0: crops
    return pad, crop, height + extra_height, width + extra_width
