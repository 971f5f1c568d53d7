"""PSNR and SSIM against torchmetrics, on images of any size, and at their ends."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from study.data.datasets import ImageData
from study.measure.image_quality import psnr, ssim

SIZES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 5, 9), (1, 10, 11), (3, 11, 11), (1, 3, 3)]


def _pairs(channels: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Smooth images, and the same with noise, from none to all of it."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(6, channels, 3, 3, generator=generator)
    x = torch.nn.functional.interpolate(small, (height, width), mode="bilinear")
    share = torch.linspace(0.01, 1, 6)[:, None, None, None]
    return torch.lerp(x, torch.rand(x.shape, generator=generator), share), x


@pytest.mark.parametrize(("channels", "height", "width"), SIZES)
def test_psnr_agrees_with_torchmetrics(channels: int, height: int, width: int) -> None:
    images, originals = _pairs(channels, height, width)
    expected = peak_signal_noise_ratio(
        images.double(), originals.double(), data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    torch.testing.assert_close(psnr(images, originals), expected, atol=0, rtol=1e-7)  # it has a float32 in between


@pytest.mark.parametrize(("channels", "height", "width"), SIZES)
def test_ssim_agrees_with_torchmetrics(channels: int, height: int, width: int) -> None:
    images, originals = _pairs(channels, height, width)
    radius = min(5, min(height, width) - 1)  # torchmetrics' window reaches 3.5 deviations to either side
    expected = structural_similarity_index_measure(
        images.double(), originals.double(), sigma=0.3 * radius, data_range=1.0, reduction="none"
    )
    assert isinstance(expected, Tensor)
    found = ssim(images, originals)
    assert found.dtype == torch.float64 and found.shape == (6,)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert found[0] > 0.99 and found[-1] < 0.5  # hardly any noise, and nothing else


def test_image_quality_of_equal_and_of_opposite_images(few_digits: ImageData) -> None:
    x = few_digits.validation.images.float() / 255
    torch.testing.assert_close(ssim(x, x), torch.ones(len(x), dtype=torch.float64))
    assert (psnr(x, x) == 100).all()
    black, white = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    torch.testing.assert_close(ssim(black, white), torch.full((2,), 1e-4 / 1.0001, dtype=torch.float64))
    assert (psnr(black, white) == 0).all()


def test_ssim_of_images_of_one_pixel_compares_their_brightness() -> None:
    x, y = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 0.25)
    assert ssim(x, y).item() == pytest.approx((0.25 + 1e-4) / (0.25 + 0.0625 + 1e-4))
