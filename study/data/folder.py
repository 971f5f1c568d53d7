"""`folder:PATH`: a folder that holds one folder of images per class, of any sizes and modes.

If all images have the same size, with sides of 8 to 256 pixels, they stay as they are. Otherwise each is cropped to its
central square and resized to S x S, where S is the largest power of two up to the median shorter side, between 8 and
64. To use larger images, bring them to one size first. The set is grey if every image is; else it is colour, with
transparency on white. Files that are not readable images are left out and reported in one line.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps

from study.config import UserError
from study.data.splits import Split

logger = logging.getLogger(__name__)

MIN_SIDE, MAX_SIDE = 8, 256
MAX_RESIZED = 64
MIN_IMAGES = 10
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485
_GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


class _Header(NamedTuple):
    size: tuple[int, int]
    grey: bool


def load_folder(root: Path) -> tuple[Split, tuple[str, ...]]:
    """Reads every image under `root/<class>/`, also in nested folders. Hidden files are left out.

    Returns:
        All images, uint8 [N, C, H, W], in the order of their paths, and the class names in order.

    Raises:
        UserError: There is no such folder, it holds no class folders or too few readable images, or an image is too
            large to open safely.
    """
    if not root.is_dir():
        raise UserError(f"folder:{root} is not a folder: give a folder that holds one folder of images per class")
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        stray = [path for path in root.iterdir() if path.is_file() and not path.name.startswith(".")]
        files = [(path, folder.name) for folder in folders for path in _files(folder)]
    except OSError as error:
        raise UserError(f"folder:{root} cannot be read: {error.strerror}") from error
    if not folders:
        raise UserError(f"folder:{root} holds no folders: put the images into one folder per class")
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # Pillow warns about odd metadata, and about sizes that `_open` refuses
        headers = list(pool.map(lambda entry: _header(entry[0]), files))
        readable = [header for header in headers if header is not None]
        height, width = _common_size([header.size for header in readable]) if readable else (1, 1)
        mode = "L" if all(header.grey for header in readable) else "RGB"
        arrays = list(
            pool.map(
                lambda pair: None if pair[1] is None else _pixels(pair[0][0], mode, height, width),
                zip(files, headers, strict=True),
            )
        )
    kept = [(array, name) for array, (_, name) in zip(arrays, files, strict=True) if array is not None]
    broken = stray + [path for array, (path, _) in zip(arrays, files, strict=True) if array is None]
    if len(kept) < MIN_IMAGES:
        found = f"{len(kept)} readable image{'s' * (len(kept) != 1)} and {len(broken)} other files"
        raise UserError(f"folder:{root} has {found}: at least {MIN_IMAGES} images are needed")
    if broken:
        shown = ", ".join(str(path.relative_to(root)) for path in broken[:3]) + ", ..." * (len(broken) > 3)
        logger.warning("folder:%s: left out %d files that are not readable images: %s", root, len(broken), shown)
    classes = tuple(sorted({name for _, name in kept}))
    images = torch.from_numpy(np.stack([array for array, _ in kept]))
    return Split(images, torch.tensor([classes.index(name) for _, name in kept])), classes


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for directory, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [Path(directory, name) for name in sorted(names) if not name.startswith(".")]
    return found


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
            return _Header((height, width), image.mode in _GREY_MODES)
    except UserError:
        raise
    except Exception:  # a broken file can make Pillow raise anything
        return None


def _common_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    (size, count), *_ = Counter(sizes).most_common(1)
    if count == len(sizes) and min(size) >= MIN_SIDE and max(size) <= MAX_SIDE:
        return size
    shorter = sorted(min(size) for size in sizes)[len(sizes) // 2]
    side = min(MAX_RESIZED, max(MIN_SIDE, 2 ** (shorter.bit_length() - 1)))
    return side, side


def _pixels(path: Path, mode: str, height: int, width: int) -> np.ndarray | None:
    """The image as uint8 [C, H, W], or None if the file does not decode."""
    try:
        with _open(path) as opened:
            opened.draft(mode, (2 * width, 2 * height))  # decodes a JPEG at a fraction of its size, much faster
            image = _flat(ImageOps.exif_transpose(opened), mode)
        if image.size != (width, height):
            image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    except Exception:  # a broken file can make Pillow raise anything
        return None
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if mode == "L" else np.ascontiguousarray(array.transpose(2, 0, 1))


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """The image with eight bits per channel and no transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0  # sixteen bits; the other modes do not state their range
        if not image.mode.startswith("I;16"):
            top = 1.0 if image.mode == "F" and values.max() <= 1 else 255.0 if values.max() <= 255 else 65535.0
        image = Image.fromarray((values / top * 255).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
