"""The first stage of the `stacked` network: a fully convolutional autoencoder, trained once and shared by all trials.

It turns an image, nearly without loss, into a code image of 10 channels, a quarter as high and wide (28x28 -> 7x7x10).
Trials train small autoencoders on those codes, which is fast, and are measured in image space.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from study.config import DataSummary, UserError
from study.data.pixels import as_float
from study.model.adam import Adam, set_one_cycle
from study.model.sizes import pad_and_crop

CODE_CHANNELS = 10
HIDDEN = 32
EPOCHS = 2
LEAST_STEPS = 1000
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
SETTINGS = (CODE_CHANNELS, HIDDEN, EPOCHS, LEAST_STEPS, BATCH_SIZE, LEARNING_RATE)
"""All that decides a training's result except the data. A cached stage is valid only for these settings."""
CHUNK = 256


class FirstStage(nn.Module):
    """Images [B, C, H, W] in [0, 1] to scaled codes [B, 10, h, w] and back; h, w are a quarter of H, W, rounded up.

    One number scales all codes, so that their total variance over the training images equals that of the pixels. A
    squared error in codes then costs about as much as in pixels, and a regulariser's weight keeps its meaning. The
    scale is NaN until the stage is trained or loaded, so an untrained stage cannot pass for a trained one. Its
    parameters are frozen.

    Attributes:
        summary: The data's summary, total variance included, but with the shape of the codes.
    """

    scale: Tensor

    def __init__(self, summary: DataSummary) -> None:
        super().__init__()
        pad, crop, height, width = pad_and_crop(summary.height, summary.width, 4)
        self.summary = dataclasses.replace(summary, channels=CODE_CHANNELS, height=height // 4, width=width // 4)
        # No activation at either end: with ReLU codes and a sigmoid output this network collapsed to black images.
        self.encoder = nn.Sequential(
            pad,
            nn.Conv2d(summary.channels, HIDDEN, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(HIDDEN, 2 * HIDDEN, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * HIDDEN, CODE_CHANNELS, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(CODE_CHANNELS, 2 * HIDDEN, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * HIDDEN, HIDDEN, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(HIDDEN, summary.channels, 4, stride=2, padding=1),
            crop,
        )
        self.register_buffer("scale", torch.tensor(math.nan))
        self.requires_grad_(False)

    def encode(self, x: Tensor) -> Tensor:
        """Scaled codes of images [B, C, H, W] in [0, 1]: [B, 10, h, w]."""
        return self.scale * self.encoder(x)

    def decode(self, codes: Tensor) -> Tensor:
        """Images of scaled codes [B, 10, h, w]: [B, C, H, W] in [0, 1]."""
        return self.decoder(codes / self.scale).clamp(0, 1)

    @torch.no_grad()
    def encode_all(self, images: Tensor) -> Tensor:
        """Scaled codes of stored images [N, C, H, W]: float [N, 10, h, w]."""
        return torch.cat([self.encode(as_float(chunk)) for chunk in images.split(CHUNK)])

    @torch.no_grad()
    def reconstruction_mse(self, images: Tensor) -> float:
        """Mean squared error per pixel over stored images [N, C, H, W]."""
        errors = [(self.decode(self.encode(x)) - x).square().sum() for x in (as_float(i) for i in images.split(CHUNK))]
        return float(torch.stack(errors).double().sum()) / images.numel()


def train_first_stage(summary: DataSummary, images: Tensor, *, seed: int = 0) -> FirstStage:
    """Trains the first stage with two passes or at least 1000 steps. MNIST takes about 80 s on one core.

    Args:
        summary: The data set's summary.
        images: The training split, as stored, [N, C, H, W]. Training runs on its device.
        seed: Seed of initialisation and order. On one machine's CPU, equal seeds give equal stages.

    Raises:
        UserError: It collapsed: it reconstructs no better than the mean image does.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stage = FirstStage(summary).to(images.device)
    generator = torch.Generator(images.device).manual_seed(seed)
    stage.requires_grad_(True)
    batch_size = min(BATCH_SIZE, len(images))
    steps = max(LEAST_STEPS, EPOCHS * len(images) // batch_size)
    optimizer = Adam(stage.parameters(), LEARNING_RATE)
    order = torch.empty(0, dtype=torch.int64, device=images.device)
    for step in range(steps):
        if len(order) < batch_size:
            order = torch.randperm(len(images), generator=generator, device=images.device)
        batch, order = order[:batch_size], order[batch_size:]
        x = as_float(images[batch])  # [B, C, H, W]
        optimizer.zero_grad()
        F.mse_loss(stage.decoder(stage.encoder(x)), x).backward()
        set_one_cycle(optimizer, step, steps, LEARNING_RATE)
        optimizer.step()
    stage.requires_grad_(False)
    stage.scale.fill_(1)
    variance = stage.encode_all(images).double().var(dim=0, correction=0).sum()
    stage.scale.copy_((summary.total_variance / variance).sqrt())
    error, blind = stage.reconstruction_mse(images), summary.total_variance / math.prod(summary.shape)
    if not error < blind:
        raise UserError(
            f"the first stage of network=stacked collapsed: its error {error:.4f} is not below the mean image's "
            f"{blind:.4f}; use another network"
        )
    return stage
