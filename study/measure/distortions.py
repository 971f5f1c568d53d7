"""Changes of images that a feature network must ignore, and changes that it must see.

- Nuisances leave an image what it is: contrast, brightness, small affine changes, a little blur and noise.
- Broken images are none of the data's: a block comes from another image, or two images are blended.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WHOLE, PATCHED, BLENDED = 0, 1, 2
REFERENCE_SIDE = 28
"""Lengths in pixels are those of an image of this side, and scaled to the data's."""


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of images [B, C, H, W] with replicated borders; `sigma` in pixels."""
    if sigma <= 0:
        return images
    radius = max(1, math.ceil(3 * sigma))
    kernel = torch.exp(-torch.arange(-radius, radius + 1).float().square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(images).expand(images.shape[1], 1, -1)
    padded = F.pad(images, (radius, radius, radius, radius), mode="replicate")
    rows = F.conv2d(padded, kernel[:, :, None, :], groups=images.shape[1])
    return F.conv2d(rows, kernel[:, :, :, None], groups=images.shape[1])


def with_nuisances(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images [B, C, H, W] in [0, 1] as they might look under other conditions; a quarter blurred, a quarter noisy."""
    count = len(x)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(count, *shape).uniform_(low, high, generator=generator)

    angle, scale = uniform(-0.2, 0.2), uniform(0.9, 1.1)
    turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(count, 2, 2)
    moved = uniform(-0.09, 0.09, 2, 1)
    grid = F.affine_grid(torch.cat([scale[:, None, None] * turned, moved], dim=2), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    x = (x * uniform(0.5, 1.2, 1, 1, 1) + uniform(-0.15, 0.15, 1, 1, 1)).clamp(0, 1)
    first, second, *_ = torch.randperm(count, generator=generator).split(max(1, count // 4))
    side = max(0.4, x.shape[-1] / REFERENCE_SIDE)
    x[first] = blur(x[first], float(uniform(0.3, 0.9)[0]) * side)
    noise = torch.randn(x[second].shape, generator=generator)
    x[second] = (x[second] + float(uniform(0.02, 0.12)[0]) * noise).clamp(0, 1)
    return x


def broken(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images [B, C, H, W], half of them patched or blended with others, and which is which: [B]."""
    count, _, height, width = x.shape
    patched, blended, *_ = torch.randperm(count, generator=generator).split(max(1, count // 4))
    result, kind = x.clone(), torch.full((count,), WHOLE)
    top = int(torch.randint(height - height // 2 + 1, (), generator=generator))
    left = int(torch.randint(width - width // 2 + 1, (), generator=generator))
    rows, columns = slice(top, top + height // 2), slice(left, left + width // 2)
    others = x[torch.randperm(count, generator=generator)]
    result[patched, :, rows, columns] = others[patched, :, rows, columns]
    share = torch.empty(len(blended), 1, 1, 1).uniform_(0.3, 0.7, generator=generator)
    result[blended] = x[blended] + share * (others[blended] - x[blended])
    kind[patched], kind[blended] = PATCHED, BLENDED
    return result, kind
