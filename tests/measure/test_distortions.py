from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from study.data.datasets import ImageData
from study.measure.distortions import BLENDED, PATCHED, WHOLE, blur, broken, with_nuisances


def test_blur_is_scipys(digits: ImageData) -> None:
    images = digits.train.images[:5].float() / 255
    expected = scipy.ndimage.gaussian_filter(images.numpy(), (0, 0, 1.2, 1.2), mode="nearest", truncate=4 / 1.2)
    assert np.allclose(blur(images, 1.2).numpy(), expected, atol=1e-5)
    assert torch.equal(blur(images, 0.0), images)


def test_broken_images_are_what_they_are_called() -> None:
    images = torch.arange(64.0).view(64, 1, 1, 1).expand(64, 1, 8, 8) / 64
    found, kind = broken(images, torch.Generator().manual_seed(0))
    levels = [len(torch.unique(image)) for image in found]
    assert torch.bincount(kind).tolist() == [32, 16, 16] and (WHOLE, PATCHED, BLENDED) == (0, 1, 2)
    assert all(count == 1 for count, of in zip(levels, kind, strict=True) if of != PATCHED)
    assert sum(count == 2 for count, of in zip(levels, kind, strict=True) if of == PATCHED) >= 15
    assert torch.equal(found[kind == WHOLE], images[kind == WHOLE])


@pytest.mark.parametrize("shape", [(64, 1, 8, 8), (16, 3, 32, 17), (8, 1, 64, 64)])
def test_nuisances_keep_images_images_and_leave_the_given_ones_alone(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    before = images.clone()
    changed = with_nuisances(images, torch.Generator().manual_seed(2))
    assert torch.equal(images, before)
    assert changed.shape == images.shape and float(changed.min()) >= 0 and float(changed.max()) <= 1
    assert float((changed - images).abs().mean()) > 0.01
    assert torch.equal(changed, with_nuisances(images, torch.Generator().manual_seed(2)))
