from __future__ import annotations

import logging
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from study.config import UserError
from study.data import folder
from study.data.datasets import load_dataset
from study.data.pixels import as_float


def write_images(
    root: Path, mode: str = "L", sizes: tuple[tuple[int, int], ...] = ((20, 12),), count: int = 20
) -> Path:
    generator = np.random.default_rng(0)
    for index in range(count):
        width, height = sizes[index % len(sizes)]
        target = root / ("cat", "dog")[index % 2]
        target.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (height, width, 4), np.uint8)
        Image.fromarray(pixels, "RGBA").convert(mode).save(target / f"{index:03}.png")
    return root


def test_one_small_size_is_kept(tmp_path: Path) -> None:
    data = load_dataset(f"folder:{write_images(tmp_path)}")
    assert data.summary.shape == (1, 12, 20)
    assert [len(data.train), len(data.validation), len(data.test)] == [12, 4, 4]
    assert data.classes == ("cat", "dog")
    first = np.asarray(Image.open(tmp_path / "cat" / "000.png"))
    everything = np.concatenate([split.images.numpy() for split in (data.train, data.validation, data.test)])
    assert (everything == first).all((1, 2, 3)).sum() == 1


@pytest.mark.parametrize(
    ("sizes", "side"),
    [(((70, 50), (90, 40), (33, 100)), 32), (((200, 300),), 64), (((3, 9),), 8), (((63, 64), (64, 64)), 64)],
)
def test_odd_sizes_become_a_common_square(tmp_path: Path, sizes: tuple[tuple[int, int], ...], side: int) -> None:
    data = load_dataset(f"folder:{write_images(tmp_path, 'RGB', sizes)}")
    assert data.summary.shape == (3, side, side)
    assert data.summary.defaults["network"] == ("conv" if side > 8 else "mlp")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "RGB", "RGBA", "P"])
def test_modes(tmp_path: Path, mode: str) -> None:
    write_images(tmp_path, "L" if mode == "I;16" else mode)
    if mode == "I;16":
        for path in tmp_path.rglob("*.png"):
            values = np.asarray(Image.open(path)).astype(np.uint16) * 257
            Image.fromarray(values).save(path)
    data = load_dataset(f"folder:{tmp_path}")
    assert data.summary.channels == (1 if mode in ("1", "L", "LA", "I;16") else 3)
    assert data.summary.total_variance > 1


def test_grey_and_colour_mix_and_transparency_is_white(tmp_path: Path) -> None:
    write_images(tmp_path, "L")
    Image.new("RGBA", (20, 12), (0, 0, 0, 0)).save(tmp_path / "cat" / "clear.png")
    data = load_dataset(f"folder:{tmp_path}")
    assert data.summary.channels == 3
    splits = (data.train, data.validation, data.test)
    assert sum(int((split.images == 255).all(dim=(1, 2, 3)).sum()) for split in splits) == 1


def test_strays_are_reported_and_not_fatal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "dog" / "torn.png").write_bytes((tmp_path / "dog" / "001.png").read_bytes()[:200])
    (tmp_path / "README").write_text("about")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.txt").write_text("unseen")
    with caplog.at_level(logging.WARNING):
        data = load_dataset(f"folder:{tmp_path}")
    assert len(data.train) + len(data.validation) + len(data.test) == 20
    assert len(caplog.messages) == 2  # the other: these are few images
    assert "left out 3 files" in caplog.messages[0] and "cat/notes.txt" in caplog.messages[0]


@pytest.mark.parametrize(
    ("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383), (16, 65535), (13, 16383), (9, 1023)]
)
def test_faults_met_the_bits_in_use_are_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bits: int, white: int
) -> None:
    largest = 2**bits - 1
    values = np.linspace(0, largest, 12).astype(np.uint16)
    for index, value in enumerate(values):
        path = tmp_path / f"class-{index % 3}" / f"{index:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(path)
    found = folder.read_folder(tmp_path)
    pixels = as_float(found.parts["train"].images)[:, 0, 0, 0]
    assert found.parts["train"].images.dtype == (torch.uint8 if bits == 8 else torch.float32)
    assert np.rint(np.sort(pixels.double().numpy() * white)).tolist() == values.tolist()  # not one bit is lost
    [note] = found.notes
    assert f"reach {largest}, so {white} is white" in note
    load_dataset(f"folder:{tmp_path}")
    assert note in caplog.text


def test_faults_met_floats_have_one_scale_for_the_folder(tmp_path: Path) -> None:
    for index in range(12):
        path = tmp_path / f"class-{index % 3}" / f"{index:02}.tiff"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), index / 11 * 200, np.float32)).save(path)
    images = folder.read_folder(tmp_path).parts["train"].images
    assert sorted(images[:, 0, 0, 0].tolist()) == pytest.approx([index / 11 * 200 / 255 for index in range(12)])


@pytest.mark.parametrize("place", ["cat/pipe", "pipe"])
def test_faults_met_a_named_pipe_is_left_out(tmp_path: Path, place: str) -> None:
    write_images(tmp_path)
    os.mkfifo(tmp_path / place)
    data = load_dataset(f"folder:{tmp_path}")
    assert len(data.train) == 12
    assert data.notes[0] == f"folder:{tmp_path}: left out 1 file that is not a readable image: {place}"


def test_faults_met_copies_are_counted_and_named(tmp_path: Path) -> None:
    write_images(tmp_path)
    for name in ("cat/002.png", "dog/100.png"):
        shutil.copy(tmp_path / "cat" / "000.png", tmp_path / name)
    note, _ = load_dataset(f"folder:{tmp_path}").notes  # the other: these are few images
    assert "2 images are copies of others" in note and note.endswith(
        ": cat/002.png (as cat/000.png), dog/100.png (as cat/000.png)"
    )


def test_faults_met_a_set_that_does_not_fit_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path)  # 20 images of 20 x 12 pixels
    monkeypatch.setattr(folder, "LARGE_BYTES", 4800)
    load_dataset(f"folder:{tmp_path}")
    assert "20 images of 1x12x20 take 0 MiB of memory, twice that while they are read" in caplog.text
    monkeypatch.setattr(folder, "read_pixels", None)
    monkeypatch.setattr(folder, "_free_memory", lambda: 9599)
    with pytest.raises(UserError, match="use fewer or smaller images"):
        load_dataset(f"folder:{tmp_path}")


def test_broken_images_only(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for index in range(30):
        (tmp_path / "cat" / f"{index}.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(UserError, match="0 readable images and 30 other files"):
        load_dataset(f"folder:{tmp_path}")


def test_no_folder_and_no_classes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        load_dataset(f"folder:{tmp_path / 'none'}")
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="1 readable image and 0 other files: at least 10"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_security_decompression_bomb(tmp_path: Path, side: int) -> None:
    write_images(tmp_path)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    (tmp_path / "cat" / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    with pytest.raises(UserError, match=r"bomb\.png has more than"):
        load_dataset(f"folder:{tmp_path}")


def test_jpeg_orientation_and_nesting(tmp_path: Path) -> None:
    for index in range(10):
        path = tmp_path / "a" / f"deep{index}" / "photo.jpg"
        path.parent.mkdir(parents=True)
        image = Image.new("RGB", (40, 20), "black")
        image.paste("white", (0, 0, 40, 10))
        exif = Image.Exif()
        exif[0x0112] = 6  # stored rotated by 90 degrees
        image.save(path, exif=exif)
    images = folder.read_folder(tmp_path).parts["train"].images
    assert images.shape == (10, 3, 40, 20)
    assert images[..., 15:].float().mean() > 250 and images[..., :5].float().mean() < 5


@pytest.mark.parametrize(("side", "expected"), [(128, 128), (256, 256), (257, 64)])
def test_images_of_one_size_keep_it_up_to_256(tmp_path: Path, side: int, expected: int) -> None:
    for index in range(12):
        path = tmp_path / f"class-{index % 3}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (side, side), 20 * index).save(path)
    assert load_dataset(f"folder:{tmp_path}").summary.shape == (1, expected, expected)


@pytest.mark.parametrize(("size", "side"), [((128, 128), 32), ((300, 200), 128), ((20, 30), 64)])
def test_the_user_may_say_the_size(tmp_path: Path, size: tuple[int, int], side: int) -> None:
    for index in range(12):
        Image.new("L", size, 20 * index).save(tmp_path / f"{index}.png")
    data = load_dataset(f"folder:{tmp_path}", image_size=side)
    assert data.summary.shape == (1, side, side)
    assert any(f"resized to {side}x{side}" in note for note in data.notes)
    assert set(np.unique(data.train.images).tolist()) <= {20 * index for index in range(12)}


def test_a_size_that_all_have_changes_nothing(tmp_path: Path) -> None:
    for index in range(12):
        Image.new("L", (32, 32), 20 * index).save(tmp_path / f"{index}.png")
    given, usual = (load_dataset(f"folder:{tmp_path}", image_size=side) for side in (32, None))
    assert given.summary == usual.summary
    assert given.notes == usual.notes


@pytest.mark.parametrize("name", ["digits", "npy:images.npy"])
def test_only_folders_are_resized(name: str) -> None:
    with pytest.raises(UserError, match=r"--image-size: the images of .* keep their size; only those of folder:PATH"):
        load_dataset(name, image_size=16)


def test_sixteen_bits_have_one_scale(tmp_path: Path) -> None:
    for index in range(12):
        path = tmp_path / f"class-{index % 3}" / f"{index:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 10 * index, np.uint16)).save(path)
    everything = folder.read_folder(tmp_path).parts["train"]
    assert everything.images.max() == 110  # eight bits are enough for these, and keep their values
