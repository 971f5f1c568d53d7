"""Measurements on codes: draws from the prior, active units, the likelihood bound and midpoints."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from study.model.autoencoder import Autoencoder
from study.model.divergences import squared_mmd

SOBOL_SIZE = 128
"""Coordinates that `normal_points` spreads evenly. That helped for all sizes measured, 2 to 16; more take longer."""
MMD_CODES = 2_000
ACTIVE_VARIANCE = 0.01
"""A latent unit is active when its posterior mean varies more than this over images (Burda et al. 1509.00519, §5.2)."""


def normal_points(n: int, size: int, seed: int) -> Tensor:
    """Low-discrepancy draws from N(0, I): scrambled Sobol points, mapped by the normal quantile function.

    Moments and densities of so many points are nearer to those of N(0, I) than independent draws'. Fewer points, or
    fewer coordinates, are the first ones of more.

    Args:
        n: Number of points.
        size: Coordinates of a point. From the 129th on they are independent draws.
        seed: Of the scrambling.

    Returns:
        [n, size], float32 on the CPU.
    """
    # The scrambling of a coordinate depends on how many there are, so there are always as many.
    uniform = SobolEngine(SOBOL_SIZE, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    points = torch.special.ndtri(uniform.clamp(2.0**-31, 1 - 2.0**-31)).float()  # the engine has 30 bits: 0 is possible
    if size <= SOBOL_SIZE:
        return points[:, :size]
    others = [np.random.default_rng((seed, column)).standard_normal(n) for column in range(SOBOL_SIZE, size)]
    return torch.cat([points, torch.from_numpy(np.stack(others, axis=1)).float()], dim=1)


def active_units(mu: Tensor) -> int:
    """The number of active units, given the posterior means [N, d]."""
    return int((mu.double().var(dim=0) > ACTIVE_VARIANCE).sum())


@torch.no_grad()
def iwae_nll(model: Autoencoder, x: Tensor, samples: int, generator: torch.Generator, chunk: int = 8) -> Tensor:
    """Upper bound on -log p(x) by importance weighting (Burda et al. 1509.00519, eq. 8). It falls as `samples` grows.

    p(x|z) is the likelihood that the model was trained with, at its scale, constants included; p(z) is N(0, I).

    Args:
        model: A model with a Gaussian encoder.
        x: Images [B, C, H, W] in [0, 1].
        samples: k, codes drawn per image.
        generator: Source of the codes, on x's device.
        chunk: Codes per image decoded at once; it bounds the memory.

    Returns:
        [B], nats.

    Raises:
        ValueError: The encoder is deterministic, or the likelihood's scale is not known.
    """
    x = model.inputs(x)
    posterior = model.posterior(x)
    if posterior.logvar is None:
        raise ValueError("the importance-weighted bound needs a Gaussian encoder")
    deviation = (0.5 * posterior.logvar).exp()
    log_weights = []
    for start in range(0, samples, chunk):
        count = min(chunk, samples - start)
        noise = torch.randn(
            (count, *posterior.mu.shape), generator=generator, device=x.device, dtype=posterior.mu.dtype
        )
        z = posterior.mu + deviation * noise  # [k, B, d]
        # log p(z) - log q(z|x), in which the log 2π terms cancel.
        log_ratio = 0.5 * (noise.square() + posterior.logvar - z.square()).sum(-1)  # [k, B]
        repeated = x.expand(count, *x.shape).flatten(0, 1)
        log_weights.append(log_ratio + model.log_likelihood(repeated, z.flatten(0, 1)).unflatten(0, (count, len(x))))
    return math.log(samples) - torch.logsumexp(torch.cat(log_weights).double(), dim=0)


def spherical_midpoint(a: Tensor, b: Tensor) -> Tensor:
    """The point half way along the arc between codes [B, d], or along the line if they are opposite or zero.

    The arc keeps the codes' length, on which N(0, I) concentrates in many dimensions (RAE's protocol, 1903.12436, §5).
    """
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    line = (a + b) / 2
    direction = a / length_a.clamp(min=1e-12) + b / length_b.clamp(min=1e-12)
    size = direction.norm(dim=1, keepdim=True)
    arc = direction / size.clamp(min=1e-12) * (length_a + length_b) / 2
    return torch.where(size > 1e-3, arc, line)


def random_midpoints(codes: Tensor, seed: int) -> Tensor:
    """`spherical_midpoint` of random pairs among codes [n, d]: [n, d]. Each code is in two pairs."""
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed)).to(codes.device)
    return spherical_midpoint(codes[order], codes[order.roll(1)])


def mmd_to_prior(z: Tensor, seed: int) -> float:
    """Unbiased MMD² of up to 2,000 codes [n, d] to as many draws from N(0, I), IMQ kernel.

    The draws are independent: points of `normal_points` keep apart, which would bias an unbiased estimate.
    """
    generator = torch.Generator().manual_seed(seed + z.shape[1])
    prior = torch.randn(MMD_CODES, z.shape[1], generator=generator).to(z.device)
    return float(squared_mmd(z[:MMD_CODES].float(), prior, "imq"))
