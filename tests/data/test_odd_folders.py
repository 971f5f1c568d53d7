"""Folders as people have them: for each odd file or layout, what the user reads and whether its pixels are right.

`docs/data.md` shows this table: a row per case, with the words that `load_dataset` logs or refuses with.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageCms

from study.config import UserError
from study.data.folder import Folder, load_folder, read_folder
from study.data.image_data import assemble
from study.data.pixels import as_float

SIDE = 16
ODD = "cat/odd"
GREY = np.random.default_rng(7).integers(0, 256, (SIDE, SIDE), np.uint8)
COLOUR = np.random.default_rng(8).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
DEEP = np.random.default_rng(9).integers(0, 4096, (SIDE, SIDE)).astype(np.uint16)
DEEP[0, 0] = 4095
DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"


class Case(NamedTuple):
    """An odd folder.

    Attributes:
        name: The row's heading.
        write: Writes it, beside six images of cats and six of dogs unless `bare`.
        reads: What the user reads; "" for nothing.
        pixels: What the odd image becomes, [C, H, W] in [0, 1]; None if it is left out or the case is about the layout.
        bare: The folder holds nothing else.
        tolerance: Of the pixels.
    """

    name: str
    write: Callable[[Path], object]
    reads: str
    pixels: np.ndarray | None = None
    bare: bool = False
    tolerance: float = 1e-7


def plain(root: Path, *places: str, count: int = 6, side: int = SIDE, first: int = 0) -> None:
    """Grey images that all differ."""
    for place in places:
        (root / place).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed = zlib.crc32(f"{place}/{number + first}".encode())
            pixels = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
            Image.fromarray(pixels).save(root / place / f"{number:03}.png")


def save(array: np.ndarray, suffix: str = ".png", mode: str | None = None, **options: Any) -> Callable[[Path], None]:
    """Writes an odd image, converted to `mode`."""

    def write(root: Path) -> None:
        image = Image.fromarray(array)
        (image if mode is None else image.convert(mode)).save(root / f"{ODD}{suffix}", **options)

    return write


def put(name: str, content: bytes) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return write


def renamed(array: np.ndarray, form: str, name: str) -> Callable[[Path], None]:
    return lambda root: Image.fromarray(array).save(root / name, form)


def colour_of_sixteen_bits(root: Path) -> None:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.repeat(16 * DEEP[..., None], 3, 2))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (root / f"{ODD}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)


def transparent(root: Path) -> None:
    alpha = np.full((SIDE, SIDE, 1), 255, np.uint8)
    alpha[: SIDE // 2] = 0
    Image.fromarray(np.concatenate([COLOUR, alpha], axis=2)).save(root / f"{ODD}.png")


def turned(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter to the left
    Image.fromarray(np.rot90(GREY)).save(root / f"{ODD}.tiff", exif=exif)


def several(suffix: str) -> Callable[[Path], None]:
    first, *rest = (Image.fromarray(np.roll(GREY, shift)) for shift in range(3))
    return lambda root: first.save(root / f"{ODD}{suffix}", save_all=True, append_images=rest)


def lab(root: Path) -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    found = ImageCms.applyTransform(Image.new("RGB", (SIDE, SIDE), "black"), to_lab)
    assert found is not None
    found.save(root / f"{ODD}.tiff")


def outside(root: Path) -> Path:
    target = root.parent / "elsewhere"
    target.mkdir(exist_ok=True)
    return target


def linked_image(root: Path) -> None:
    Image.fromarray(GREY).save(outside(root) / "a.png")
    (root / f"{ODD}.png").symlink_to(outside(root) / "a.png")


def linked_class(root: Path) -> None:
    plain(outside(root), "fish")
    (root / "fish").symlink_to(outside(root) / "fish")


def unknown_pixels() -> np.ndarray:
    values = (GREY / 255).astype(np.float32)
    values[0, 0] = np.nan
    return values


def torn(root: Path) -> None:
    Image.fromarray(GREY).save(root / f"{ODD}.png")
    (root / f"{ODD}.png").write_bytes((root / f"{ODD}.png").read_bytes()[:150])


def copied(root: Path) -> None:
    plain(root, "train/a", "train/b", "test/a", "test/b", count=60)
    (root / "test/a/000.png").write_bytes((root / "train/a/007.png").read_bytes())


def channels_first(array: np.ndarray) -> np.ndarray:
    return (array.transpose(2, 0, 1) if array.ndim == 3 else array[None]) / 255


ON_WHITE = np.where(np.arange(SIDE)[:, None, None] < SIDE // 2, 255, COLOUR)
LEFT_OUT = "left out 1 file that is not a readable image: "
DEEP_NOTE = "its images of mode I;16 reach 4095, so 4095 is white; no bit is lost"
COLOURS = "12 of 13 images are grey, the others have colours: cat/000.png, cat/001.png, cat/002.png, ..."
CASES = [
    Case("nothing odd", lambda root: None, ""),
    Case("12 bits in a PNG of 16", save(DEEP), DEEP_NOTE, DEEP[None] / 4095),
    Case("12 bits in a TIFF of 16", save(DEEP, ".tif"), DEEP_NOTE, DEEP[None] / 4095),
    Case("16 bits of 32", save(DEEP.astype(np.int32) * 16, ".tif"),
         "its images of mode I reach 65520, so 65535 is white; no bit is lost", DEEP[None] * 16 / 65535),
    Case("16 bits in colour", colour_of_sixteen_bits,
         "its images of mode PNG of 16 bits reach 65520, so 65535 is white; no bit is lost",
         np.repeat(DEEP[None] * 16 / 65535, 3, 0)),
    Case("floats from 0 to 1", save((DEEP / 4095).astype(np.float32), ".tif"),
         "its images of mode F reach 1, so 1 is white; no bit is lost", DEEP[None] / 4095),
    Case("floats below 0", save((GREY / 127.5 - 1).astype(np.float32), ".tif"),
         "has images of mode F with pixels from -1 to 1: scale them so that 0 is black and 1 is white, or use "
         "study.data.arrays.from_arrays(images, value_range=(low, high))"),
    Case("floats that are NaN", save(unknown_pixels(), ".tif"),
         "1 image has pixels that are NaN or infinite, which become black: cat/odd.tif",
         np.nan_to_num(unknown_pixels())[None]),
    Case("one colour image among grey ones", save(COLOUR), COLOURS, channels_first(COLOUR)),
    Case("transparency", transparent, "1 image is transparent in places, which become white: cat/odd.png",
         channels_first(ON_WHITE)),
    Case("grey with transparency", save(GREY, mode="LA"),
         "1 image is transparent in places, which become white: cat/odd.png", channels_first(GREY)),
    Case("palette", save(GREY, ".gif", "P"), COLOURS, np.repeat(channels_first(GREY), 3, 0)),
    Case("one bit", save(np.where(GREY > 127, 255, 0).astype(np.uint8), mode="1"), "",
         channels_first(np.where(GREY > 127, 255, 0))),
    Case("CMYK", save(np.full((SIDE, SIDE, 3), 255, np.uint8), ".tif", "CMYK"),
         "1 image of mode CMYK is converted to RGB: cat/odd.tif", np.ones((3, SIDE, SIDE))),
    Case("LAB", lab, "1 image of mode LAB is converted to RGB: cat/odd.tiff", np.zeros((3, SIDE, SIDE)),
         tolerance=0.01),
    Case("turned, says its EXIF", turned, "1 image is turned upright as EXIF data say: cat/odd.tiff",
         channels_first(GREY)),
    Case("animation", several(".gif"), "1 file holds several images, of which the first is taken: cat/odd.gif",
         np.repeat(channels_first(GREY), 3, 0)),
    Case("pages of a TIFF", several(".tif"), "1 file holds several images, of which the first is taken: cat/odd.tif",
         channels_first(GREY)),
    Case("torn", torn, f"{LEFT_OUT}cat/odd.png"),
    Case("zero bytes", put("cat/odd.png", b""), f"{LEFT_OUT}cat/odd.png"),
    Case("text called .png", put("cat/odd.png", b"not an image"), f"{LEFT_OUT}cat/odd.png"),
    Case("Thumbs.db", put("cat/Thumbs.db", b"\xd0\xcf\x11\xe0"), f"{LEFT_OUT}cat/Thumbs.db"),
    Case("hidden files", put("cat/._odd.png", b"\x00\x05\x16\x07"), ""),
    Case("a hidden folder", put(".cache/odd.png", b"\x00"), ""),
    Case("JPEG called .png", renamed(np.full((SIDE, SIDE), 99, np.uint8), "JPEG", f"{ODD}.png"), "",
         np.full((1, SIDE, SIDE), 99 / 255), tolerance=0.01),
    Case("upper-case suffix", save(GREY, ".PNG"), "", channels_first(GREY)),
    Case("no suffix", renamed(GREY, "PNG", ODD), "", channels_first(GREY)),
    Case("letters of other scripts", renamed(GREY, "PNG", f"{ODD} é 猫.png"), "", channels_first(GREY)),
    Case("WebP", save(np.repeat(GREY[..., None], 3, 2), ".webp", lossless=True), COLOURS,
         np.repeat(channels_first(GREY), 3, 0)),
    Case("BMP", save(GREY, ".bmp"), "", channels_first(GREY)),
    Case("TIFF, compressed", save(GREY, ".tif", compression="tiff_lzw"), "", channels_first(GREY)),
    Case("named pipe", lambda root: os.mkfifo(root / "cat" / "pipe"), f"{LEFT_OUT}cat/pipe"),
    Case("link to an image", linked_image, "", channels_first(GREY)),
    Case("link that leads nowhere", lambda root: (root / f"{ODD}.png").symlink_to("gone.png"),
         f"{LEFT_OUT}cat/odd.png"),
    Case("link that goes round", lambda root: (root / "cat" / "again").symlink_to(root), f"{LEFT_OUT}cat/again"),
    Case("link to a class", linked_class, ""),
    Case("empty class", lambda root: (root / "fish").mkdir(), "no image in the folders of classes fish"),
    Case("one image of another size", save(np.repeat(GREY, 2, 1)),
         "1 of 13 images is not 16x16 and is cropped and resized to it: cat/odd.png"),
    Case("image beside the classes", renamed(GREY, "PNG", "odd.png"), "left out 1 image beside the folders: odd.png"),
    Case("more images beside the classes than in them", lambda root: plain(root, ".", count=20),
         "holds 20 images beside its folders (cat, dog), which hold 12: move either of them out"),
    Case("a copy of an image", lambda root: (root / f"{ODD}.png").write_bytes((root / "cat/000.png").read_bytes()),
         "1 image is a copy of another, so splits may share images and scores may be too good: cat/odd.png (as "
         "cat/000.png)"),
    Case("a copy in another split", copied,
         "1 image of one split is in another too, so scores may be too good: test/a/000.png (as train/a/007.png)",
         bare=True),
    Case("all images in one folder", lambda root: plain(root, ".", count=12),
         "no labels: samples are compared in a network trained without classes, and no figure shows classes",
         bare=True),
    Case("one class", lambda root: plain(root, "cat", count=12),
         "one class (cat): samples are compared in a network trained without classes, and no figure shows classes",
         bare=True),
    Case("folders of classes in a folder", lambda root: plain(root, "data/cat", "data/dog"),
         "its only folder, data, is one class; if cat, dog in it are classes, give folder:ROOT/data", bare=True),
    Case("train, val and test", lambda root: plain(root, "train/cat", "train/dog", "val/cat", "test/dog"),
         "splits given: train, validation, test (train 12, validation 6, test 6 images)", bare=True),
    Case("train and test without classes", lambda root: plain(root, "train", "test", count=20),
         "splits given: train, test; validation cut from train (train 16, validation 4, test 20 images)", bare=True),
    Case("train and test beside a class", lambda root: plain(root, "train/cat", "test/cat", "fish"),
         "holds the splits test, train beside fish: give it splits alone, or classes alone", bare=True),
    Case("a class of trains", lambda root: plain(root, "train", "plane"), "", bare=True),
    Case("photographs of many sizes",
         lambda root: [plain(root, f"{side}", count=4, side=side) for side in (70, 100, 130)],
         "12 images of 3 sizes, 70x70 to 130x130 pixels, are cropped to their central squares and resized to "
         "64x64", bare=True),
    Case("images of 300 pixels", lambda root: plain(root, "a", "b", side=300),
         "12 images of 300x300 pixels are cropped to their central squares and resized to 64x64", bare=True),
    Case("images of 4 pixels", lambda root: plain(root, "a", "b", side=4),
         "12 images of 4x4 pixels are cropped to their central squares and resized to 8x8", bare=True),
    Case("few images", lambda root: plain(root, "a", "b", count=4),
         "has 8 readable images and 0 other files: at least 10 images are needed", bare=True),
    Case("an empty folder", lambda root: root.mkdir(exist_ok=True),
         "has 0 readable images and 0 other files: at least 10 images are needed", bare=True),
]  # fmt: skip
assert len(CASES) >= 25 and len({case.name for case in CASES}) == len(CASES)
ALWAYS = "images to measure with"
"""Words of the note that every small set gets."""


def written(case: Case, root: Path) -> Path:
    root.mkdir()
    if not case.bare:
        plain(root, "cat", "dog")
    case.write(root)
    return root


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_the_user_reads(case: Case, tmp_path: Path) -> None:
    root = written(case, tmp_path / "root")
    try:
        lines = list(assemble("ROOT", load_folder(root)).notes)
    except UserError as error:
        lines = [str(error)]
    said = [line.replace(f"folder:{root}", "folder:ROOT") for line in lines if ALWAYS not in line]
    said = [re.sub(r"^(folder:)?ROOT:? ", "", line) for line in said]
    assert all("\n" not in line for line in lines)
    assert case.reads in said if case.reads else not said
    assert f"| {case.name} | {case.reads or 'nothing'} |" in DOCUMENT.read_text()


@pytest.mark.parametrize("case", [case for case in CASES if case.pixels is not None], ids=lambda case: case.name)
def test_pixels_are_right(case: Case, tmp_path: Path) -> None:
    found: Folder = read_folder(written(case, tmp_path / "root"))
    whole = as_float(found.parts["train"].images).numpy()
    assert len(whole) == 13 and found.classes == ("cat", "dog")
    expected = case.pixels
    assert expected is not None and whole.shape[1:] == expected.shape
    assert np.abs(whole[6] - expected).max() <= case.tolerance  # after six other cats
    others = np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "root").glob("*/00?.png"))]) / 255
    assert np.abs(np.delete(whole, 6, axis=0) - others[:, None]).max() < 1e-7


def test_a_linked_class_is_a_class(tmp_path: Path) -> None:
    [case] = (case for case in CASES if case.name == "link to a class")
    assert read_folder(written(case, tmp_path / "root")).classes == ("cat", "dog", "fish")


def test_an_image_of_another_size_is_its_middle(tmp_path: Path) -> None:
    [case] = (case for case in CASES if case.name == "one image of another size")
    images = read_folder(written(case, tmp_path / "root")).parts["train"].images
    stored = np.asarray(Image.open(tmp_path / "root" / f"{ODD}.png"))
    assert images.shape[1:] == (1, SIDE, SIDE)
    assert (images[6, 0].numpy() == stored[:, SIDE // 2 : -SIDE // 2]).all()


def test_a_class_without_images_in_train_only(tmp_path: Path) -> None:
    plain(tmp_path, "train/cat", "train/dog", "test/cat", count=10)
    found = read_folder(tmp_path)
    assert found.classes == ("cat", "dog") and found.given == ("train", "test")
