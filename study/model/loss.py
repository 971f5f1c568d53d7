"""The loss: one function for every method, D(x, x̂) + w m(t) R(z)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn as nn
from torch import Tensor

from study.model.autoencoder import Autoencoder
from study.model.precision import run_network
from study.model.regularizers.base import Regularizer


class LossTerms(NamedTuple):
    """The loss of one batch and its parts, as 0-dim tensors, and the codes. Only `loss` carries a gradient.

    Attributes:
        loss: reconstruction + weight * penalty.
        reconstruction: D, nats per image.
        penalty: R, unweighted, in its own unit.
        codes: The codes that the decoder saw, [B, d]. A critic learns from them.
    """

    loss: Tensor
    reconstruction: Tensor
    penalty: Tensor
    codes: Tensor


def compute_loss(
    model: Autoencoder,
    regularizer: Regularizer,
    x: Tensor,
    weight: float | Tensor,
    generator: torch.Generator | None,
    features: Callable[[Tensor], Tensor] | None = None,
    run: Callable[[nn.Module, Tensor, str], Tensor] = run_network,
) -> LossTerms:
    """The loss per image, D(x, x̂) + w m(t) R(z), averaged over a batch.

    Encoder and decoder run in the trial's `precision`, all else in float32.

    Args:
        model: The autoencoder.
        regularizer: R.
        x: What the encoder reads: images [B, C, H, W] in [0, 1]; for `stacked` the first stage's codes [B, 10, h, w].
        weight: w * m(t), a number or a 0-dim tensor.
        generator: Source of posterior noise and prior draws, on x's device.
        features: Frozen feature extractor, images -> [B, F]. Needed if `perceptual_weight` is above 0.
        run: As `run_network`, for encoder and decoder.

    Raises:
        ValueError: `features` is needed and missing.
    """
    config = model.config
    if config.perceptual_weight and features is None:
        raise ValueError(f"perceptual_weight={config.perceptual_weight}: give a feature extractor")
    posterior = model.posterior_of(run(model.encoder, x, config.precision))  # mu [B, d], logvar [B, d] or None
    z = posterior.sample(generator)  # [B, d]
    raw = run(model.decoder, z, config.precision)  # [B, maps * C, H, W]
    cost = model.likelihood.cost(raw, x)  # [B], nats
    if config.perceptual_weight and features is not None:
        cost = cost + config.perceptual_weight * perceptual_distance(features, model.likelihood.mean(raw), x)
    if config.total_variation_weight:
        cost = cost + config.total_variation_weight * total_variation(model.likelihood.mean(raw))
    reconstruction = cost.mean()  # []
    penalty = regularizer(model, posterior, z, generator)  # []
    return LossTerms(reconstruction + weight * penalty, reconstruction.detach(), penalty.detach(), z.detach())


def total_variation(image: Tensor) -> Tensor:
    """Sum of squared differences between neighbouring pixels, [B, C, H, W] in [0, 1] -> [B].

    The other common form, `0.5 * mean` on [-1, 1], equals this one with a weight of 2 over the number of pixels.
    """
    across, down = image.diff(dim=3).square(), image.diff(dim=2).square()
    return across.flatten(1).sum(dim=1) + down.flatten(1).sum(dim=1)


def perceptual_distance(features: Callable[[Tensor], Tensor], image: Tensor, x: Tensor) -> Tensor:
    """Mean absolute difference of two images' features, times the number of pixels, [B, C, H, W] twice -> [B].

    At weight 1 a mean difference in features costs as much as the same mean difference in pixels under `laplace`.

    Args:
        features: Frozen extractor, [B, C, H, W] in [0, 1] -> [B, F]. Not the feature network.
        image: The reconstruction, which receives the gradient.
        x: The original.
    """
    with torch.no_grad():
        wanted = features(x)
    return (features(image) - wanted).abs().flatten(1).mean(dim=1) * x[0].numel()
