from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from study.data import splits
from study.data.splits import Split, content_hash, stratified_order, three_way, total_variance


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200))
def test_every_leading_part_is_stratified(labels: list[int]) -> None:
    tensor = torch.tensor(labels)
    order = stratified_order(tensor)
    assert sorted(order.tolist()) == list(range(len(labels)))
    half = torch.bincount(tensor[order[: len(labels) // 2]], minlength=5)
    assert ((half - torch.bincount(tensor, minlength=5) / 2).abs() <= 3).all()


def test_order_is_frozen() -> None:
    assert stratified_order(torch.arange(12) % 3).tolist() == [0, 4, 5, 2, 10, 6, 11, 3, 1, 8, 9, 7]


def test_three_way_loses_and_repeats_nothing() -> None:
    whole = Split(torch.arange(50, dtype=torch.uint8).reshape(50, 1, 1, 1), torch.arange(50) % 5)
    parts = three_way(whole, 10, 7)
    assert [len(part) for part in parts] == [33, 10, 7]
    pixels = torch.cat([part.images.flatten() for part in parts])
    assert sorted(pixels.tolist()) == list(range(50))
    assert all((part.images.flatten().long() % 5 == part.labels).all() for part in parts)


def test_total_variance_against_numpy() -> None:
    images = torch.randint(0, 256, (9_001, 2, 3, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert total_variance(images) == pytest.approx((images.numpy() / 255).var(0, dtype=np.float64).sum(), rel=1e-6)


def test_hash_sees_every_pixel_label_and_shape() -> None:
    split = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    pixel = split.images.clone()
    pixel[3, 0, 1, 1] = 1
    label = split.labels.clone()
    label[3] = 1
    variants = [split, Split(pixel, split.labels), Split(split.images, label), Split(split.images.mT[..., :1], label)]
    hashes = {content_hash((variant,)) for variant in variants}
    assert len(hashes) == 4
    assert content_hash((Split(split.images.clone(), split.labels.clone()),)) in hashes


def test_faults_met_the_variance_of_large_images_needs_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (50, 3, 16, 16), np.uint8))
    expected = images.numpy().astype(np.float64).var(0).sum() / 255**2
    sizes: list[int] = []

    def as_float(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor.to(torch.float32)

    monkeypatch.setattr(splits, "_CHUNK_PIXELS", 5 * 3 * 16 * 16)
    monkeypatch.setattr(torch.Tensor, "float", as_float)
    assert total_variance(images) == pytest.approx(expected, rel=1e-6)
    assert sizes == [5 * 3 * 16 * 16] * 10
    monkeypatch.setattr(splits, "_CHUNK_PIXELS", 1)  # one image is more than that
    assert total_variance(images) == pytest.approx(expected, rel=1e-6)
