from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from study.data.datasets import ImageData, load_dataset
from study.measure import baselines
from study.measure.baselines import pca_errors


def oracle(train: torch.Tensor, images: torch.Tensor, size: int) -> float:
    pixels = images.flatten(1).numpy() / 255
    pca = PCA(size, svd_solver="full").fit(train.flatten(1).numpy() / 255)
    return float(np.square(pca.inverse_transform(pca.transform(pixels)).clip(0, 1) - pixels).mean())


def test_metrics_pca_against_sklearn(digits: ImageData) -> None:
    errors = pca_errors(digits.train.images, {"test": digits.test.images})["test"]
    assert list(errors) == list(range(65))
    train, test = (images.numpy() / 255 for images in (digits.train.images, digits.test.images))
    assert errors[0] == pytest.approx(np.square(test - train.mean(0)).mean(), rel=1e-5)
    for size in (1, 2, 8, 32):
        assert errors[size] == pytest.approx(oracle(digits.train.images, digits.test.images, size), rel=1e-4)
    assert errors[64] < 1e-6
    assert all(errors[size] >= errors[size + 1] for size in range(64))


def test_metrics_randomised_pca_is_close_to_the_exact_one(digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_EXACT", 10)
    errors = pca_errors(digits.train.images, {"test": digits.test.images})["test"]
    for size in (2, 8, 16):
        assert errors[size] == pytest.approx(oracle(digits.train.images, digits.test.images, size), rel=0.01)


def test_metrics_pca_of_few_images() -> None:
    images = torch.randint(0, 256, (6, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert list(pca_errors(images, {"validation": images[:2]})["validation"]) == [0, 1, 2, 3, 4, 5]


def test_metrics_pca_of_mnist_is_what_is_known(mnist_dir: Path) -> None:
    data = load_dataset("mnist", mnist_dir, download=False)
    errors = pca_errors(data.train.images, {"test": data.test.images})["test"]
    known = {2: 0.0555, 4: 0.0474, 8: 0.0364, 16: 0.0254, 32: 0.0152}
    assert {size: errors[size] for size in known} == pytest.approx(known, abs=1e-4)
