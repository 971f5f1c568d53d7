"""A user's own arrays: what their numbers mean is checked, and what cannot be right is refused in one line."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.config import UserError
from study.data.arrays import from_arrays
from study.data.image_data import UNLABELLED, ImageData
from study.data.pixels import as_float

BYTES = np.random.default_rng(0).integers(0, 256, (300, 8, 10), np.uint8)
BYTES[0, 0, :2] = 0, 255
LABELS = np.arange(300) % 3


def everything(data: ImageData) -> np.ndarray:
    """All images as floats [N, C, H, W], sorted, since splits are drawn."""
    images = np.concatenate([as_float(data.split(name).images).numpy() for name in ("train", "validation", "test")])
    return images[np.lexsort(images.reshape(len(images), -1).T)]


def as_sorted(images: np.ndarray) -> np.ndarray:
    return images[np.lexsort(images.reshape(len(images), -1).T)]


@pytest.mark.parametrize(
    ("images", "value_range"),
    [
        (BYTES, None),
        (torch.from_numpy(BYTES), None),
        (list(BYTES), None),
        (BYTES[:, None], None),
        (BYTES[..., None], None),
        ((BYTES / 255).astype(np.float32), None),
        (torch.from_numpy(BYTES) / 255, None),
        (BYTES / 255, None),
        ((BYTES / 255).astype(np.float16), None),
        ((torch.from_numpy(BYTES) / 255).requires_grad_(), None),
        (BYTES.astype(np.float64), (0, 255)),
        (BYTES.astype(np.int64), (0, 255)),
        (BYTES / 127.5 - 1, (-1, 1)),
        (BYTES.astype(np.int16) - 128, (-128, 127)),
        (BYTES.astype(np.uint16), None),  # they need no more than eight bits
    ],
)
def test_bytes_stay_bytes_however_they_come(images: Any, value_range: tuple[float, float] | None) -> None:
    data = from_arrays(images, LABELS, value_range=value_range)
    assert data.train.images.dtype == torch.uint8 and data.summary.shape == (1, 8, 10)
    assert (everything(data) == as_sorted(BYTES[:, None].astype(np.float32) / 255)).all()
    assert [len(data.train), len(data.validation), len(data.test)] == [180, 60, 60]
    assert data.summary.hash == from_arrays(BYTES, LABELS).summary.hash
    assert data.classes == ("0", "1", "2") and data.name == data.summary.name == "arrays"


@pytest.mark.parametrize(
    ("images", "value_range", "low", "high"),
    [
        (np.random.default_rng(1).random((50, 8, 8, 3)), None, 0, 1),
        (np.random.default_rng(1).random((50, 8, 8, 3)).astype(np.float16), None, 0, 1),
        (np.random.default_rng(1).integers(0, 4096, (50, 8, 8, 3)).astype(np.uint16), None, 0, 4095),
        (np.random.default_rng(1).integers(0, 65536, (50, 8, 8, 3)).astype(np.uint16), None, 0, 65535),
        (np.random.default_rng(1).normal(size=(50, 8, 8, 3)), (-8, 8), -8, 8),
        (np.random.default_rng(1).integers(0, 17, (50, 8, 8, 3)), (0, 16), 0, 16),
    ],
)
def test_more_than_eight_bits_are_kept(
    images: np.ndarray, value_range: tuple[float, float] | None, low: float, high: float
) -> None:
    data = from_arrays(images, value_range=value_range)
    assert data.train.images.dtype == torch.float32 and data.summary.shape == (3, 8, 8)
    expected = (images.transpose(0, 3, 1, 2).astype(np.float64) - low) / (high - low)
    assert np.allclose(everything(data), as_sorted(expected.astype(np.float32)), atol=1e-7, rtol=0)
    train = data.train.images.numpy().astype(np.float64)
    assert data.summary.total_variance == pytest.approx(train.var(axis=0).sum(), rel=1e-9)


@pytest.mark.parametrize(
    ("images", "value_range", "levels"),
    [(BYTES > 127, None, (0, 255)), ((BYTES > 127).astype(np.uint8), (0, 1), (0, 255)),
     (BYTES // 16, (0, 15), range(0, 256, 17))],
)  # fmt: skip
def test_few_levels_are_bytes(images: np.ndarray, value_range: Any, levels: Any) -> None:
    data = from_arrays(images, value_range=value_range)
    assert data.train.images.unique().tolist() == sorted(levels)


WITH_NAN = BYTES / 255
WITH_NAN[17, 3, 4] = np.nan
REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (
        BYTES.astype(np.float32),
        {},
        r"float32 images with values from 0 to 255 look like 0 to 255: give value_range=\(0",
    ),
    (BYTES / 127.5 - 1, {}, r"look like \[-1, 1\]: give value_range=\(-1, 1\)"),
    (BYTES / 127.5, {}, r"from 0 to 2 look like 0 to 255"),
    (np.random.default_rng(0).normal(size=(50, 8, 8)), {}, r"not in \[0, 1\]: give value_range=\(black, white\)"),
    (BYTES / 255 / 255, {}, "nearly black, as if divided by 255 twice"),
    ((BYTES > 9).astype(np.uint8), {}, r"black as bytes: give value_range=\(0, 1\) if 1 is white"),
    (BYTES.astype(np.int64), {}, r"this type does not say what is white; give value_range=\(0, 255\)"),
    (WITH_NAN, {}, "image 17 of train has nan at row 3, column 4, channel 0"),
    (np.where(BYTES == 255, np.inf, BYTES / 255), {}, "image 0 of train has inf at row 0, column 1, channel 0"),
    (BYTES, {"value_range": (0, 254)}, r"image 0 of train has 255 at row 0, column 1.*outside value_range=\(0, 254\)"),
    (BYTES, {"value_range": (255, 0)}, "the smaller first"),
    (BYTES, {"value_range": 255}, "give two numbers"),
    (BYTES, {"value_range": (0, np.inf)}, "two finite numbers"),
    (BYTES.reshape(300, 80), {}, r"shape \(300, 80\): give .*images.reshape\(300, height, width\)"),
    (np.repeat(BYTES[..., None], 4, 3), {}, "one or three channels"),
    (np.zeros((20, 3, 9, 3)), {}, "one or three channels"),
    (BYTES[:, :7], {}, "of 1x7x10 pixels: sides of at least 8"),
    (BYTES[:9], {}, r"too few images \(train 9\): at least 10"),
    ([], {}, "too few images"),
    ([*BYTES, BYTES[0, :, :9]], {}, r"number 300 is of shape \(8, 9\), the first of \(8, 10\): bring them to one"),
    (np.array([None] * 20), {}, "of type object, not numbers"),
    (np.array(["a"] * 20), {}, "not numbers"),
    (np.full((20, 8, 8), 99, np.uint8), {}, "all training images are the same"),
    (np.full((20, 8, 8), 0.1), {}, "all training images are the same"),
    (BYTES, {"test": BYTES[:5, :, :9]}, "test images are of 1x8x9, the others of 1x8x10"),
    (BYTES, {"test": BYTES[:5] / 255}, r"different types \(train uint8, test float64\)"),
    (BYTES, {"test": BYTES[:0]}, r"too few images \(train 300, test 0\)"),
    (BYTES, {"name": "folder:x"}, "without colons"),
    (BYTES, {"classes": ["a", "b"]}, "there are no labels"),
]


@pytest.mark.parametrize(("images", "options", "message"), REFUSED)
def test_what_cannot_be_right_is_refused_in_one_line(images: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        from_arrays(images, **options)
    assert "\n" not in str(caught.value)


def test_a_dark_array_and_the_bits_in_use_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        from_arrays(BYTES // 16)
        from_arrays(BYTES.astype(np.uint16) * 16)
    assert "from 0 to 15 are taken as they are; give value_range=(0, 15) if the largest is white" in caplog.text
    assert "its images of uint16 reach 4080, so 4095 is white; no bit is lost" in caplog.text


def test_splits_that_are_given_are_used() -> None:
    test, validation = (BYTES[240:], LABELS[240:]), (BYTES[200:240], LABELS[200:240])
    data = from_arrays(BYTES[:200], LABELS[:200], test=test, validation=validation, classes=["a", "b", "c"])
    for split, start, end in ((data.train, 0, 200), (data.validation, 200, 240), (data.test, 240, 300)):
        assert (split.images[:, 0].numpy() == BYTES[start:end]).all() and split.labels.tolist() == LABELS[
            start:end
        ].tolist()
    assert data.classes == ("a", "b", "c")
    assert "splits given: train, validation, test (train 200, validation 40, test 60 images)" in data.notes[0]
    cut = from_arrays(BYTES[:200], test=BYTES[200:])
    assert [len(cut.train), len(cut.validation), len(cut.test)] == [160, 40, 100]
    assert (cut.test.images[:, 0].numpy() == BYTES[200:]).all()


def test_later_changes_of_the_arrays_do_not_reach_the_data() -> None:
    parts = [BYTES[:200].copy(), BYTES[200:250].copy(), BYTES[250:].copy()]
    data = from_arrays(parts[0], validation=parts[1], test=parts[2])
    for part in parts:
        part[:] = 0
    assert all(data.split(name).images.float().mean() > 100 for name in ("train", "validation", "test"))


def test_faults_met_copies_across_splits_are_counted_and_named() -> None:
    data = from_arrays(BYTES[:200], test=np.concatenate([BYTES[200:], BYTES[7:9]]))
    assert any(
        "2 images of one split are in another too, so scores may be too good: test 100 (as train 7), test 101 (as "
        "train 8)" in note
        for note in data.notes
    )
    data = from_arrays(np.concatenate([BYTES, BYTES[7:8]]))
    assert any("1 image is a copy of another, so splits may share images" in note for note in data.notes)


def test_without_labels_there_is_one_class_and_the_user_is_told() -> None:
    data = from_arrays(BYTES)
    assert data.classes == UNLABELLED and data.summary.num_classes == 1
    assert data.notes == (
        "arrays: no labels: samples are compared in a network trained without classes, and no figure shows classes",
    )


def test_the_code_of_the_document_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(code, "docs/data.md", "exec"), {})
    assert capsys.readouterr().out.strip() == "(3, 16, 16) ('left', 'right') torch.float32"


@pytest.mark.parametrize(
    ("images", "options"),
    [(images, options) for images, options, message in REFUSED if "look like" in message or "black" in message],
)
def test_the_document_quotes_what_is_refused(images: Any, options: dict[str, Any]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    with pytest.raises(UserError) as caught:
        from_arrays(images, **options)
    quoted = [quote for quote in re.findall(r"\| `([^`]+)` \|", text) if quote in str(caught.value)]
    assert quoted, caught.value
