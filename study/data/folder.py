"""`folder:PATH`: a folder of images, flat, by class, by split, or by split and class; of any sizes and modes.

A side S that the user gives crops each image to its central square and resizes that to S x S. Without one, if nine in
ten images or more have the same size, with sides of 8 to 256 pixels, that is the size of all. Otherwise S is the
largest power of two up to the median shorter side, between 8 and 64. The set is grey if every image is; else it is
colour, with transparency on white. Pixels of more than eight bits are kept as floats, and scaled alike: white is the
largest value of as many bits as the folder's brightest pixel needs. Whatever is done to the images is said in a note.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from study.config import UserError
from study.data.decoding import Header, read_header, read_pixels
from study.data.folder_layout import Layout, read_layout
from study.data.image_data import Loaded, copies_notes, cut_missing
from study.data.pixels import as_exact_bytes
from study.data.splits import Split

logger = logging.getLogger(__name__)

MIN_SIDE, MAX_SIDE = 8, 256
MAX_RESIZED = 64
MIN_IMAGES = 10
MOST = 0.9
"""The size that this share of the images has is the size of all."""
LARGE_BYTES = 2**28
"""Sets of so many bytes are told of before they are read."""
_DEPTHS = (8, 10, 12, 14, 16)
_CHUNK = 32
"""Files that a thread reads one after another."""
_T = TypeVar("_T")
_R = TypeVar("_R")


class Folder(NamedTuple):
    """The images of a folder.

    Attributes:
        parts: Images by split in the order of their paths; all under `train` if no split is given.
        classes: Class names in order; `UNLABELLED` if there are none.
        given: The splits that the folder gives.
        notes: What the user should know, one line each.
    """

    parts: dict[str, Split]
    classes: tuple[str, ...]
    given: tuple[str, ...]
    notes: tuple[str, ...]


def load_folder(root: Path, side: int | None = None, layout: Layout | None = None) -> Loaded:
    """The three splits of a folder; those it lacks are cut from its training images.

    Args:
        root: The folder.
        side: As of `read_folder`.
        layout: As of `read_folder`.

    Raises:
        UserError: As `read_folder`.
    """
    found = read_folder(root, side, layout)
    return cut_missing(found.parts, found.given, found.classes, found.notes)


def read_folder(root: Path, side: int | None = None, layout: Layout | None = None) -> Folder:
    """Reads every image of a folder, see `study.data.folder_layout`.

    Args:
        root: The folder.
        side: Pixels of each side that all images get; by default what suits most of them.
        layout: What the folder holds, if that is known.

    Raises:
        UserError: There is no such folder, its layout is ambiguous, it holds too few readable images or more than there
            is memory for, an image is too large to open safely, or pixels have a range that says nothing.
    """
    layout = layout or read_layout(root)
    files = [file.path for file in layout.files]
    # Pillow warns about odd metadata, and about sizes that `read_header` refuses.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")
        headers = list(_each(pool, read_header, files))
        beside = zip(layout.outside, _each(pool, read_header, layout.outside), strict=True)
        strays = [path for path, header in beside if header is not None]
        readable = [header for header in headers if header is not None]
        _check_strays(root, strays, len(readable), layout)
        size, resized = _common_size([header.size for header in readable], side) if readable else ((1, 1), None)
        channels = 1 if all(header.grey for header in readable) else 3
        tops = _tops(root, readable)
        is_deep = any(top != 255 for top in tops.values()) or "F" in tops
        _check_memory(root, len(readable), (channels, *size), 4 if is_deep else 1)
        pixels = np.zeros((len(files), channels, *size), np.float32 if is_deep else np.uint8)

        def read(index: int) -> bool:
            if headers[index] is None:
                return False
            array = read_pixels(files[index], channels, size, tops, as_bytes=not is_deep)
            if array is not None:
                pixels[index] = array
            return array is not None

        is_image = np.fromiter(_each(pool, read, range(len(files))), bool, len(files))
    unreadable = [path for path, good in zip(files, is_image, strict=True) if not good]
    unreadable = layout.others + [path for path in layout.outside if path not in set(strays)] + unreadable
    count = int(is_image.sum())
    if count < MIN_IMAGES:
        found = f"{count} readable image{'s' * (count != 1)} and {len(unreadable)} other files"
        raise UserError(f"folder:{root} has {found}: at least {MIN_IMAGES} images are needed")
    kept = [file for file, good in zip(layout.files, is_image, strict=True) if good]
    if count < len(files):
        pixels = pixels[is_image]
    if is_deep and (exact := as_exact_bytes(pixels)) is not None:
        pixels, is_deep = exact, False
    classes = tuple(sorted({file.label for file in kept}))
    rows = {split: [row for row, file in enumerate(kept) if file.split == split] for split in layout.given or ["train"]}
    missing = [split for split, found in rows.items() if not found]
    if missing:
        raise UserError(f"folder:{root}: {missing[0]} holds no readable image")
    images, labels = torch.from_numpy(pixels), torch.tensor([classes.index(file.label) for file in kept])
    # The files of a split follow one another, so a part is a view of the whole.
    parts = {
        split: Split(images[found[0] : found[-1] + 1], labels[found[0] : found[-1] + 1])
        for split, found in rows.items()
    }
    seen = [(file.path, header) for file, header in zip(layout.files, headers, strict=True) if header is not None]
    told = _Told(root)
    told.files("left out {} [file that is not a readable image|files that are not readable images]", unreadable)
    told.files("left out {} [image|images] beside the folders", strays)
    told.layout(layout, classes)
    told.changes(seen, size, resized, channels)
    told.depths(readable, tops, is_deep)
    told.notes += copies_notes(parts, [str(file.path.relative_to(root)) for file in kept], layout.given)
    return Folder(parts, classes, layout.given, tuple(told.notes))


def _each(pool: ThreadPoolExecutor, function: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """`function` of each item, in order. Threads get many at a time: small images are read a quarter faster so."""
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    return itertools.chain.from_iterable(pool.map(lambda chunk: [function(item) for item in chunk], chunks))


class _Told:
    """Collects the notes about a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []

    def files(self, text: str, paths: Sequence[Path]) -> None:
        """A note on some files, if there are any: their number takes the place of {}, and the first are named.

        Of `[image|images]` the second is for several.
        """
        if paths:
            text = re.sub(r"\[(.*?)\|(.*?)\]", r"\1" if len(paths) == 1 else r"\2", text)
            named = ", ".join(str(path.relative_to(self.root)) for path in paths[:3]) + ", ..." * (len(paths) > 3)
            self.notes.append(f"{text.format(f'{len(paths):,}')}: {named}")

    def layout(self, layout: Layout, classes: tuple[str, ...]) -> None:
        """What was taken for classes."""
        if empty := [label for label in layout.labels if label not in classes]:
            self.notes.append(f"no image in the folders of classes {', '.join(empty[:3])}{', ...' * (len(empty) > 3)}")
        if layout.nested:
            inner = ", ".join(layout.nested[:3])
            self.notes.append(
                f"its only folder, {classes[0]}, is one class; if {inner} in it are classes, give "
                f"folder:{self.root / classes[0]}"
            )

    def changes(
        self, seen: list[tuple[Path, Header]], size: tuple[int, int], resized: str | None, channels: int
    ) -> None:
        """What is done to the images."""

        def which(test: Callable[[Header], object]) -> list[Path]:
            return [path for path, header in seen if test(header)]

        if resized is not None:
            self.notes.append(resized)
        else:
            others = which(lambda header: header.size != size)
            self.files(
                f"{{}} of {len(seen):,} images [is|are] not {size[1]}x{size[0]} and [is|are] cropped and resized to it",
                others,
            )
        if channels == 3:
            self.files(f"{{}} of {len(seen):,} images [is|are] grey, the others have colours", which(lambda h: h.grey))
        self.files("{} [image is|images are] transparent in places, which become white", which(lambda h: h.transparent))
        for mode in sorted({header.colours for _, header in seen} - {""}):
            self.files(
                f"{{}} [image|images] of mode {mode} [is|are] converted to RGB", which(lambda h, m=mode: h.colours == m)
            )
        self.files("{} [image is|images are] turned upright as EXIF data say", which(lambda h: h.turned))
        self.files(
            "{} [file holds|files hold] several images, of which the first is taken", which(lambda h: h.frames > 1)
        )
        self.files(
            "{} [image has|images have] pixels that are NaN or infinite, which become black", which(lambda h: h.unknown)
        )

    def depths(self, headers: list[Header], tops: dict[str, float], is_deep: bool) -> None:
        """What is white in images of more than eight bits."""
        for deep, top in tops.items():
            largest = max(header.largest for header in headers if header.deep == deep)
            kept = "; no bit is lost" if is_deep else ""
            self.notes.append(f"its images of mode {deep} reach {largest:g}, so {top:g} is white{kept}")


def _check_strays(root: Path, strays: list[Path], count: int, layout: Layout) -> None:
    """Refuses a folder with more images beside its folders than in them: it is not clear what is meant."""
    if len(strays) > count:
        inside = ", ".join(layout.given or layout.labels[:3])
        raise UserError(
            f"folder:{root} holds {len(strays):,} images beside its folders ({inside}), which hold {count:,}: move "
            "either of them out"
        )


def _check_memory(root: Path, count: int, shape: tuple[int, ...], pixel_bytes: int) -> None:
    """Says what a large set needs before it is read, and refuses one that cannot fit.

    Raises:
        UserError: The images, twice while they are cut into splits, are larger than the free memory.
    """
    size = count * math.prod(shape) * pixel_bytes
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


def _tops(root: Path, headers: list[Header]) -> dict[str, float]:
    """The value that is white, by kind of deep pixels: one scale for the whole folder.

    Cameras and scanners store 10, 12 or 14 bits in files of 16. Taken for 16, such images would be nearly black.

    Raises:
        UserError: Pixels are negative, so nothing says what black is.
    """
    tops: dict[str, float] = {}
    for deep in sorted({header.deep for header in headers} - {""}):
        found = [header for header in headers if header.deep == deep]
        lowest, largest = min(header.lowest for header in found), max(header.largest for header in found)
        if lowest < 0:
            raise UserError(
                f"folder:{root} has images of mode {deep} with pixels from {lowest:g} to {largest:g}: scale them so "
                "that 0 is black and 1 is white, or use study.data.arrays.from_arrays(images, value_range=(low, high))"
            )
        depths = [bits for bits in _DEPTHS if largest <= 2**bits - 1]
        top = 2.0 ** depths[0] - 1 if depths else largest
        tops[deep] = 1.0 if deep == "F" and largest <= 1 else top
    return tops


def _common_size(sizes: list[tuple[int, int]], side: int | None = None) -> tuple[tuple[int, int], str | None]:
    """Height and width of all images, and what to say if that is a square they are all cropped to."""
    (size, count), *_ = Counter(sizes).most_common(1)
    is_common = count >= MOST * len(sizes) and min(size) >= MIN_SIDE and max(size) <= MAX_SIDE
    if is_common and (side is None or size == (side, side)):
        return size, None
    by_side = sorted(sizes, key=min)
    side = side or min(MAX_RESIZED, max(MIN_SIDE, 2 ** (min(by_side[len(sizes) // 2]).bit_length() - 1)))
    small, large = (f"{width}x{height}" for height, width in (by_side[0], by_side[-1]))
    spread = (
        f"of {small} pixels" if len(set(sizes)) == 1 else f"of {len(set(sizes)):,} sizes, {small} to {large} pixels,"
    )
    note = f"{len(sizes):,} images {spread} are cropped to their central squares and resized to {side}x{side}"
    return (side, side), note
