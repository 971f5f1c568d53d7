"""A folder's splits are used as given, and what is ambiguous is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.config import UserError
from study.data.datasets import load_dataset
from study.data.folder_layout import read_layout


def write(root: Path, *places: str, count: int = 10) -> dict[str, set[bytes]]:
    """Writes images into each folder; returns their pixels."""
    pixels: dict[str, set[bytes]] = {}
    for index, place in enumerate(places):
        (root / place).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = np.random.default_rng((index, number)).integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(image).save(root / place / f"{number}.png")
            pixels.setdefault(place.partition("/")[0], set()).add(image.tobytes())
    return pixels


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_faults_met_given_splits_are_used(tmp_path: Path, validation: str, caplog: pytest.LogCaptureFixture) -> None:
    parts = ("train", validation, "Test")
    pixels = write(tmp_path, *(f"{split}/{label}" for split in parts for label in ("cat", "dog")))
    data = load_dataset(f"folder:{tmp_path}")
    assert data.classes == ("cat", "dog")
    for split, name in zip((data.train, data.validation, data.test), parts, strict=True):
        assert {image.numpy().tobytes() for image in split.images} == pixels[name]
        assert split.labels.tolist() == [0] * 10 + [1] * 10
    note, _ = data.notes  # the other: these are few images
    assert "splits given: train, validation, test (train 20, validation 20, test 20 images)" in note
    assert note in caplog.text


def test_faults_met_the_user_s_test_images_stay_test_images(tmp_path: Path) -> None:
    pixels = write(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog")
    data = load_dataset(f"folder:{tmp_path}")
    assert [len(data.train), len(data.validation), len(data.test)] == [16, 4, 20]
    assert {image.numpy().tobytes() for image in data.test.images} == pixels["test"]
    seen = {image.numpy().tobytes() for split in (data.train, data.validation) for image in split.images}
    assert seen == pixels["train"]
    assert "splits given: train, test; validation cut from train" in data.notes[0]


@pytest.mark.parametrize(
    ("places", "classes", "given"),
    [
        (["train", "plane"], ["plane", "train"], ()),  # means of transport
        (["cat", "dog"], ["cat", "dog"], ()),
        (["train"], ["train"], ()),
        (["train/cat", "train/dog"], ["cat", "dog"], ("train",)),
        (["train", "test"], ["images"], ("train", "test")),  # splits without classes
        (["."], ["images"], ()),
    ],
)
def test_a_class_may_be_called_like_a_split(
    tmp_path: Path, places: list[str], classes: list[str], given: tuple[str, ...]
) -> None:
    write(tmp_path, *places)
    layout = read_layout(tmp_path)
    assert sorted({file.label for file in layout.files}) == classes and layout.given == given


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["train/cat", "test/cat", "cat"], "holds the splits test, train beside cat: give it splits alone"),
        (["train/cat", "val/cat", "valid/cat"], "holds train, val, valid, several of which mean the same split"),
        (["test/cat", "val/cat"], "holds test, val and no train"),
        (["train/cat", "cat", "dog"], "holds train, with folders in it, beside cat, dog: if it is a split"),
        (["train/cat", "unlabelled"], "holds train, with folders in it, beside unlabelled"),
        (["train/cat", "test"], "is split, and test holds no folders"),
        (["train/cat", "test/cat", "test/unknown"], "train has no class test/unknown"),
    ],
)
def test_faults_met_an_ambiguous_folder_is_refused(tmp_path: Path, places: list[str], message: str) -> None:
    write(tmp_path, *places)
    with pytest.raises(UserError, match=message) as caught:
        read_layout(tmp_path)
    assert "\n" not in str(caught.value)
