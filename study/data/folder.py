"""`folder:PATH`: a folder that holds one folder of images per class, or per split and class, of any sizes and modes.

If all images have the same size, with sides of 8 to 256 pixels, they stay as they are. Otherwise each is cropped to its
central square and resized to S x S, where S is the largest power of two up to the median shorter side, between 8 and
64. To use larger images, bring them to one size first. The set is grey if every image is; else it is colour, with
transparency on white. Pixels of more than eight bits are scaled alike: white is the largest value of as many bits as
the folder's brightest pixel needs. Files that are not readable images are left out and reported in one line.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps

from study.config import UserError
from study.data.folder_layout import ImageFile, read_layout
from study.data.splits import Split

logger = logging.getLogger(__name__)

MIN_SIDE, MAX_SIDE = 8, 256
MAX_RESIZED = 64
MIN_IMAGES = 10
LARGE_BYTES = 2**28
"""Sets of so many bytes are told of before they are read."""
_DEPTHS = (8, 10, 12, 14, 16)
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485
_GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


class _Header(NamedTuple):
    size: tuple[int, int]
    grey: bool
    mode: str
    largest: float


class Folder(NamedTuple):
    """The images of a folder.

    Attributes:
        parts: Images by split, uint8 [N, C, H, W], in the order of their paths; all under `train` if none is given.
        classes: Class names in order.
        given: The splits that the folder gives.
        notes: What the user should know, one line each.
    """

    parts: dict[str, Split]
    classes: tuple[str, ...]
    given: tuple[str, ...]
    notes: tuple[str, ...]


def load_folder(root: Path) -> Folder:
    """Reads every image under `root/<class>/` or `root/<split>/<class>/`, see `study.data.folder_layout`.

    Raises:
        UserError: There is no such folder, it is not laid out like this, it holds too few readable images or more than
            there is memory for, or an image is too large to open safely.
    """
    layout = read_layout(root)
    files = [file.path for file in layout.files]
    notes: list[str] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # Pillow warns about odd metadata, and about sizes that `_open` refuses
        headers = list(pool.map(_header, files))
        readable = [header for header in headers if header is not None]
        height, width = _common_size([header.size for header in readable]) if readable else (1, 1)
        mode = "L" if all(header.grey for header in readable) else "RGB"
        tops = _tops(readable)
        notes += [
            f"its images of mode {deep} reach {found:g}, so {top:g} is white" for deep, (found, top) in tops.items()
        ]
        channels = 1 if mode == "L" else 3
        _check_memory(root, len(readable), (channels, height, width))
        pixels = np.zeros((len(files), channels, height, width), np.uint8)

        def read(index: int) -> bool:
            if headers[index] is None:
                return False
            array = _pixels(files[index], mode, height, width, {name: top for name, (_, top) in tops.items()})
            if array is not None:
                pixels[index] = array
            return array is not None

        is_image = np.fromiter(pool.map(read, range(len(files))), bool, len(files))
    broken = layout.others + [path for path, good in zip(files, is_image, strict=True) if not good]
    count = int(is_image.sum())
    if count < MIN_IMAGES:
        found = f"{count} readable image{'s' * (count != 1)} and {len(broken)} other files"
        raise UserError(f"folder:{root} has {found}: at least {MIN_IMAGES} images are needed")
    if broken:
        notes.insert(0, f"left out {len(broken)} files that are not readable images: {_named(root, broken)}")
    kept = [file for file, good in zip(layout.files, is_image, strict=True) if good]
    if count < len(files):
        pixels = pixels[is_image]
    notes += _copies(root, pixels, kept)
    classes = tuple(sorted({file.label for file in kept}))
    labels = torch.tensor([classes.index(file.label) for file in kept])
    rows = {
        split: [row for row, file in enumerate(kept) if file.split == split] for split in layout.given or ("train",)
    }
    missing = [split for split, found in rows.items() if not found]
    if missing:
        raise UserError(f"folder:{root}: {missing[0]} holds no readable image")
    # The files of a split follow one another, so a part is a view of the whole.
    parts = {
        split: Split(torch.from_numpy(pixels[found[0] : found[-1] + 1]), labels[found[0] : found[-1] + 1])
        for split, found in rows.items()
    }
    return Folder(parts, classes, layout.given, tuple(notes))


def _named(root: Path, paths: list[Path]) -> str:
    return ", ".join(str(path.relative_to(root)) for path in paths[:3]) + ", ..." * (len(paths) > 3)


def _copies(root: Path, pixels: np.ndarray, files: list[ImageFile]) -> list[str]:
    """A line about images that occur more than once and may lie in two splits; none if there is no such image."""
    first: dict[bytes, ImageFile] = {}
    copies: list[Path] = []
    for image, file in zip(pixels, files, strict=True):
        original = first.setdefault(hashlib.blake2b(image.data, digest_size=16).digest(), file)
        if original is not file:
            copies.append(file.path)
    if not copies:
        return []
    noun = f"{len(copies)} image{' is a copy' if len(copies) == 1 else 's are copies'} of others"
    return [f"{noun}, so splits may share images and scores may be too good: {_named(root, copies)}"]


def _check_memory(root: Path, count: int, shape: tuple[int, int, int]) -> None:
    """Says what a large set needs before it is read, and refuses one that cannot fit.

    Raises:
        UserError: The images, twice while they are cut into splits, are larger than the free memory.
    """
    size = count * math.prod(shape)
    said = f"folder:{root}: {count} images of {shape[0]}x{shape[1]}x{shape[2]} take {size / 2**20:,.0f} MiB of memory"
    free = _free_memory()
    if free is not None and 2 * size > free:
        raise UserError(
            f"{said}, twice that while they are read, and {free / 2**20:,.0f} MiB are free: use fewer or smaller images"
        )
    if size >= LARGE_BYTES:
        logger.warning("%s, twice that while they are read", said)


def _free_memory() -> int | None:
    """Bytes that programs can still get, or None where the system does not tell."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return None if found is None else 1024 * int(found[1])


def _open(path: Path) -> Image.Image:
    """Opens an image without decoding it.

    Raises:
        UserError: It has more pixels than is safe to decode.
        Exception: A broken file can make Pillow raise anything.
    """
    try:
        image = Image.open(path)
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise _too_large(path)
    return image


def _too_large(path: Path) -> UserError:
    return UserError(
        f"{path} has more than {MAX_PIXELS // 10**6} million pixels: shrink it or take it out of the folder"
    )


def _header(path: Path) -> _Header | None:
    try:
        with _open(path) as image:
            width, height = image.size
            if image.getexif().get(0x0112, 1) >= 5:  # these orientations swap the sides
                width, height = height, width
            largest = float(_finite(np.asarray(image)).max()) if _is_deep(image.mode) else 255.0
            return _Header((height, width), image.mode in _GREY_MODES, image.mode, largest)
    except UserError:
        raise
    except Exception:  # a broken file can make Pillow raise anything
        return None


def _is_deep(mode: str) -> bool:
    """Whether pixels of this mode may have more than eight bits; the mode does not say how many are used."""
    return mode.startswith("I") or mode == "F"


def _finite(values: np.ndarray) -> np.ndarray:
    """Pixels without a value, and infinite ones, are black: as the largest they would make all others black."""
    return np.nan_to_num(values, posinf=0, neginf=0)


def _tops(headers: list[_Header]) -> dict[str, tuple[float, float]]:
    """Deep mode -> the largest pixel of its images, and the value that is white: one scale for the whole folder.

    Cameras and scanners store 10, 12 or 14 bits in files of 16. Taken for 16, such images would be nearly black.
    """
    tops: dict[str, tuple[float, float]] = {}
    for mode in sorted({header.mode for header in headers if _is_deep(header.mode)}):
        largest = max(header.largest for header in headers if header.mode == mode)
        depths = [bits for bits in _DEPTHS if largest <= 2**bits - 1]
        top = 2.0 ** depths[0] - 1 if depths else largest
        tops[mode] = largest, 1.0 if mode == "F" and largest <= 1 else top
    return tops


def _common_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    (size, count), *_ = Counter(sizes).most_common(1)
    if count == len(sizes) and min(size) >= MIN_SIDE and max(size) <= MAX_SIDE:
        return size
    shorter = sorted(min(size) for size in sizes)[len(sizes) // 2]
    side = min(MAX_RESIZED, max(MIN_SIDE, 2 ** (shorter.bit_length() - 1)))
    return side, side


def _pixels(path: Path, mode: str, height: int, width: int, tops: Mapping[str, float]) -> np.ndarray | None:
    """The image as uint8 [C, H, W], or None if the file does not decode."""
    try:
        with _open(path) as opened:
            opened.draft(mode, (2 * width, 2 * height))  # decodes a JPEG at a fraction of its size, much faster
            image = _flat(ImageOps.exif_transpose(opened), mode, tops)
        if image.size != (width, height):
            image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    except Exception:  # a broken file can make Pillow raise anything
        return None
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if mode == "L" else np.ascontiguousarray(array.transpose(2, 0, 1))


def _flat(image: Image.Image, mode: str, tops: Mapping[str, float]) -> Image.Image:
    """The image with eight bits per channel and no transparency."""
    if _is_deep(image.mode):
        values = _finite(np.asarray(image, dtype=np.float64)) / tops[image.mode]
        image = Image.fromarray((values * 255).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
