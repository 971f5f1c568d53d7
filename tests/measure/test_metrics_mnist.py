"""On real MNIST, `sample_fid` gets worse with every step of damage to the images. Prints the table."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from study.data.datasets import load_dataset
from study.measure.comparison import fid
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator

COUNT = 5_000


def blur(images: Tensor, labels: Tensor, sigma: float) -> Tensor:
    chosen = images[:COUNT]
    return gaussian_blur(chosen, [13, 13], [sigma, sigma]) if sigma else chosen


def noise(images: Tensor, labels: Tensor, deviation: float) -> Tensor:
    values = torch.randn(COUNT, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    return (images[:COUNT] + deviation * values).clamp(0, 1)


def dropped_classes(images: Tensor, labels: Tensor, classes: float) -> Tensor:
    return images[labels >= classes][:COUNT]


def duplicated(images: Tensor, labels: Tensor, copies: float) -> Tensor:
    return images[: COUNT // int(copies)].repeat(int(copies), 1, 1, 1)


DAMAGES: dict[Callable[[Tensor, Tensor, float], Tensor], tuple[float, ...]] = {
    blur: (0, 0.5, 0.75, 1, 1.5, 2, 3),
    noise: (0, 0.1, 0.2, 0.3, 0.4, 0.6),
    dropped_classes: (0, 1, 2, 4, 6, 8),
    duplicated: (1, 5, 25, 100, 500),
}


@pytest.fixture(scope="module")
def evaluator(mnist_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    data = load_dataset("mnist", mnist_dir, download=False)
    context = prepare_context(data, tmp_path_factory.mktemp("cache"))
    assert (context.first.instrument.accuracy or 0) >= 0.975
    return Evaluator(data, context)


@pytest.mark.slow
def test_metrics_worsen_with_every_damage(evaluator: Evaluator, capsys: pytest.CaptureFixture[str]) -> None:
    train = evaluator.data.train
    images, labels = train.images[:30_000].float() / 255, train.labels[:30_000]
    real = evaluator.context.first.features["validation"]
    table = {}
    for damage, steps in DAMAGES.items():
        for step in steps:
            damaged = damage(images, labels, step)
            assert len(damaged) == COUNT
            with torch.no_grad():
                features = torch.cat([evaluator.features(batch) for batch in damaged.split(500)]).numpy()
            table[damage.__name__, step] = fid(real, features.astype(np.float64) * evaluator.context.first.scale)
    with capsys.disabled():
        print("\nsample_fid of damaged training images, real MNIST")
        for damage, steps in DAMAGES.items():
            cells = "  ".join(f"{step:g}: {table[damage.__name__, step]:.3f}" for step in steps)
            print(f"{damage.__name__:<16} {cells}")
    for damage, steps in DAMAGES.items():
        values = [table[damage.__name__, step] for step in steps]
        assert all(better < worse for better, worse in itertools.pairwise(values)), damage.__name__
