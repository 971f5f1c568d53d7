"""The ladders that test feature networks: known changes of real images, from untouched to worst."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from benchmarks.controls import Ladder, elastic, ladders, shift
from benchmarks.instrument import kept
from study.data.datasets import ImageData
from study.data.splits import Split


@pytest.fixture(scope="module")
def found(digits: ImageData) -> dict[str, Ladder]:
    return {ladder.name: ladder for ladder in ladders(digits)}


def test_a_shift_moves_the_content_and_an_elastic_change_of_nothing_none() -> None:
    images = torch.rand(3, 1, 6, 6)
    assert torch.equal(shift(images, 2)[..., :4], images[..., 2:])
    generator = torch.Generator().manual_seed(0)
    torch.testing.assert_close(elastic(images, 0.0, 1.0, generator), images, atol=1e-5, rtol=0)


def test_every_ladder_begins_with_real_images_and_leaves_them_step_by_step(
    found: dict[str, Ladder], digits: ImageData
) -> None:
    assert any(ladder.held_out for ladder in found.values()) and any(not ladder.held_out for ladder in found.values())
    for name, ladder in found.items():
        real, *changed = ladder.steps
        assert real.shape[1:] == digits.train.images.shape[1:]
        assert all(float(step.min()) >= 0 and float(step.max()) <= 1 for step in ladder.steps), name
        if name in ("classes", "repeated"):
            counts = [len(torch.unique(step.flatten(1), dim=0)) for step in ladder.steps]
            assert counts == sorted(counts, reverse=True) and len(set(counts)) == len(counts), name
        elif name not in ("PCA samples", "shift"):  # samples are of no image; a shift by two is no further than by one
            distances = [float((step - real).square().mean()) for step in changed]
            assert distances == sorted(distances) and distances[0] > 0, name
    again = {ladder.name: ladder for ladder in ladders(digits)}
    assert all(torch.equal(*pair) for name in found for pair in zip(found[name].steps, again[name].steps, strict=True))


def test_with_few_classes_fewer_are_left_out(digits: ImageData) -> None:
    few = digits.train.labels < 5
    train = Split(digits.train.images[few], digits.train.labels[few])
    [ladder] = [each for each in ladders(dataclasses.replace(digits, train=train, classes=digits.classes[:5]))
                if each.name == "classes"]  # fmt: skip
    real, *changed = ladder.steps
    for step, left in zip(changed, (1, 2, 3), strict=True):
        assert len(step) == int((train.labels >= left).sum()) < len(real)


def test_a_ladder_is_kept_if_its_scores_rise() -> None:
    steps = [torch.zeros(1)] * 4
    found = [Ladder("a", steps), Ladder("b", steps), Ladder("c", steps, held_out=True)]
    scores = {"a": [1.0, 2.0, 3.0, 4.0], "b": [1.0, 3.0, 2.0, 4.0], "c": [4.0, 3.0, 2.0, 1.0]}
    assert kept(found, scores, held_out=False) == 0.5
    assert kept(found, scores, held_out=True) == 0
