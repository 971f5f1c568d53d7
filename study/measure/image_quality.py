"""How near a reconstruction is to its image, one number per image: PSNR and SSIM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

HIGHEST_PSNR = 100.0
"""Decibels of an exact reconstruction, whose PSNR is infinite. Half a grey level of 255 is 54 dB."""
RADIUS = 5
"""Pixels from the middle of SSIM's window to its edge; its Gaussian weights have a deviation of 0.3 times as many."""
C1, C2 = 0.01**2, 0.03**2


def psnr(images: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, -10 log10(MSE), in decibels; at most 100.

    Args:
        images: [B, C, H, W] in [0, 1].
        originals: The same shape.

    Returns:
        [B], float64.
    """
    error = (images.double() - originals.double()).square().flatten(1).mean(dim=1)
    return -10 * error.clamp(min=10 ** (-HIGHEST_PSNR / 10)).log10()


def ssim(images: Tensor, originals: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al., IEEE TIP 13(4), 2004), 1 for equal images.

    Windows of 11x11 with Gaussian weights, as published, channel by channel, around every pixel of the image, which is
    reflected at its borders (as torchmetrics does it). On images with a side below 6, which cannot be reflected as far,
    the window is smaller, and the deviation of its weights with it.

    Args:
        images: [B, C, H, W] in [0, 1].
        originals: The same shape.

    Returns:
        [B], float64, in [-1, 1].
    """
    x, y = images.double(), originals.double()
    kernel = _window(x)
    reach = len(kernel) // 2
    x, y = (F.pad(images, (reach, reach, reach, reach), mode="reflect") for images in (x, y))
    mean_x, mean_y = _blurred(x, kernel), _blurred(y, kernel)
    # Rounding can make a variance of nothing negative.
    variance_x = (_blurred(x * x, kernel) - mean_x.square()).clamp(min=0)
    variance_y = (_blurred(y * y, kernel) - mean_y.square()).clamp(min=0)
    covariance = _blurred(x * y, kernel) - mean_x * mean_y
    brightness = (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return (brightness * structure).flatten(1).mean(dim=1)


def _window(x: Tensor) -> Tensor:
    """Weights of a window's rows, and of its columns, for images [B, C, H, W]: [k], float64, summing to 1."""
    radius = min(RADIUS, min(x.shape[2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64, device=x.device)
    weights = (-0.5 * (offsets / (0.3 * max(radius, 1))).square()).exp()
    return weights / weights.sum()


def _blurred(x: Tensor, kernel: Tensor) -> Tensor:
    """Weighted means over the windows of each channel of [B, C, H, W]: [B, C, H - k + 1, W - k + 1]."""
    flat = x.flatten(0, 1)[:, None]  # [BC, 1, H, W]
    blurred = F.conv2d(F.conv2d(flat, kernel[None, None, :, None]), kernel[None, None, None, :])
    return blurred.unflatten(0, x.shape[:2])[:, :, 0]
