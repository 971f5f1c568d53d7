"""A folder that was read once is not read again, unless anything in it or any option has changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from study.data import datasets, kept_folder
from study.data.datasets import load_dataset
from study.data.image_data import ImageData
from study.data.kept_folder import keep


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of two classes, one of them of another size, and a file that is none."""
    generator = np.random.default_rng(0)
    for index in range(12):
        path = tmp_path / "images" / ("cat", "dog")[index % 2] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 20 if index == 5 else 16
        Image.fromarray(generator.integers(0, 256, (side, side), dtype=np.uint8)).save(path)
    (tmp_path / "images" / "cat" / "notes.txt").write_text("none")
    return tmp_path / "images"


def load(folder: Path, side: int | None = None) -> ImageData:
    return load_dataset(f"folder:{folder}", image_size=side, cache=folder.parent / "cache")


def contents(data: ImageData) -> tuple[object, ...]:
    return data.name, data.classes, data.summary, data.notes


@pytest.mark.parametrize("side", [None, 8])
def test_what_was_kept_is_what_was_read(
    folder: Path, side: int | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = load(folder, side)
    assert not (folder.parent / "cache").exists()  # to look writes nothing
    keep(first)
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    monkeypatch.setattr(datasets, "load_folder", None)
    again = load(folder, side)
    assert contents(again) == contents(first)
    for name in ("train", "validation", "test"):
        assert torch.equal(again.split(name).images, first.split(name).images)
        assert torch.equal(again.split(name).labels, first.split(name).labels)
    assert [record.getMessage() for record in caplog.records] == said and any("notes.txt" in line for line in said)
    assert any("trust no score" in line for line in said)


def test_images_of_more_than_eight_bits_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(12):
        Image.fromarray(generator.integers(0, 4096, (16, 16), dtype=np.uint16)).save(folder / f"{index}.png")
    first = load(folder)
    keep(first)
    monkeypatch.setattr(datasets, "load_folder", None)
    again = load(folder)
    assert again.train.images.dtype == torch.float32 and contents(again) == contents(first)


def _rewrite(folder: Path) -> None:
    """Other pixels, as many bytes, and the old times."""
    path = folder / "cat" / "00.bmp"
    times = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-16] + bytes(255 - byte for byte in content[-16:]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size and path.stat().st_mtime_ns == times.st_mtime_ns


@pytest.mark.parametrize(
    "change",
    [
        _rewrite,
        lambda folder: (folder / "dog" / "01.png").unlink(),
        lambda folder: shutil.copy(folder / "dog" / "01.png", folder / "dog" / "13.png"),
        lambda folder: (folder / "dog").rename(folder / "wolf"),
        lambda folder: (folder / "fish").mkdir(),
    ],
)
def test_a_folder_that_has_changed_is_read_again(folder: Path, change: Callable[[Path], object]) -> None:
    with Image.open(folder / "cat" / "00.png") as image:
        image.save(folder / "cat" / "00.bmp")
    (folder / "cat" / "00.png").unlink()
    first = load(folder)
    keep(first)
    change(folder)
    again = load(folder)
    assert contents(again) == contents(load_dataset(f"folder:{folder}")) != contents(first)
    assert again.kept != first.kept and first.kept is not None and first.kept.exists()
    keep(again)
    assert [*first.kept.parent.iterdir()] == [again.kept]  # the earlier content of this folder is of no more use


def test_a_folder_with_a_file_that_cannot_be_read_is_read_again(folder: Path) -> None:
    path = folder / "cat" / "00.png"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    broken = load(folder)
    keep(broken)
    assert len(broken.train) + len(broken.validation) + len(broken.test) == 11
    assert not (folder.parent / "cache").exists()


def test_another_size_is_kept_beside(folder: Path) -> None:
    for side in (None, 8, 12):
        keep(load(folder, side))
    assert len(list((folder.parent / "cache").iterdir())) == 3
    assert load(folder, 12).summary.shape == (1, 12, 12)


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-40], lambda content: b"", lambda content: _flipped(content)]
)
def test_a_damaged_file_is_told_and_the_images_are_read_again(
    folder: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    first = load(folder)
    keep(first)
    assert first.kept is not None
    first.kept.write_bytes(damage(first.kept.read_bytes()))
    again = load(folder)
    assert contents(again) == contents(first)
    assert "so the images are read again" in caplog.text
    keep(again)
    caplog.clear()
    assert contents(load(folder)) == contents(first) and "read again" not in caplog.text


def _flipped(content: bytes) -> bytes:
    middle = content.index(b"train_images") + 300
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def test_a_set_that_is_too_large_or_has_no_place_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(folder)
    keep(load_dataset(f"folder:{folder}"))  # without a cache
    monkeypatch.setattr(kept_folder, "MOST_BYTES", 12 * 16 * 16 - 1)
    keep(data)
    assert not (folder.parent / "cache").exists()
    monkeypatch.undo()
    (folder.parent / "cache").write_text("a file in its place")
    keep(data)
    assert "cannot be written" in caplog.text and contents(load(folder)) == contents(data)
