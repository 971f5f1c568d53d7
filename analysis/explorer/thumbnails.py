"""Small pictures of a trial for the report's explorer, as `data:` addresses that fit into a budget of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from analysis.plotting.pictures import tile
from study.results.frame import Arrays, StudyFrames

BUDGET = 1_200_000
"""Bytes of all thumbnails of a page, a quarter less than they take as text."""
MOST_BYTES = 12_000
"""Of one thumbnail."""
MOST_TRIALS = 120
"""More trials would get thumbnails too small to see anything; the best ones have some."""
SIDE, SMALL_SIDE = 48, 32
"""Pixels of an image's longer side in a thumbnail; larger images are made smaller."""
_SMALL_BYTES = 6_000
"""If a thumbnail may have fewer, it shows half as many images of the small side."""
_CRISP = 16
"""Images up to this side keep every pixel: lossy compression would blur them."""
_COLUMNS = 8
_QUALITIES = (75, 40)


class Kind(NamedTuple):
    """One thumbnail of a trial.

    Attributes:
        title: Heading.
        arrays: The arrays that it shows, row by row; the second array's rows stand below those of the first.
        images: How many of each.
    """

    title: str
    arrays: tuple[str, ...]
    images: int


KINDS = (
    Kind("Samples from N(0, I)", ("samples",), 4 * _COLUMNS),
    Kind("Samples from the fitted prior", ("fitted_samples",), 4 * _COLUMNS),
    Kind("Images, and below them their reconstructions", ("originals", "reconstructions"), _COLUMNS),
    Kind("Interpolations between two images", ("interpolations",), 2),
)


def thumbnails(frames: StudyFrames, rows: Sequence[int]) -> dict[int, dict[str, str]]:
    """The thumbnails of trials that have saved their pictures.

    Args:
        frames: The study.
        rows: Trials, the most wanted first; of more than `MOST_TRIALS` the last ones get none.

    Returns:
        Row -> title -> `data:` address.
    """
    wanted = list(rows)[:MOST_TRIALS]
    at_most = min(MOST_BYTES, BUDGET // max(1, len(KINDS) * len(wanted)))
    found = {}
    for row in wanted:
        arrays = frames.arrays(row)
        shown = ((kind.title, _picture(arrays or {}, kind, at_most < _SMALL_BYTES)) for kind in KINDS)
        pictures = {title: picture for title, picture in shown if picture is not None}
        if pictures:
            found[row] = {title: data_address(picture, at_most) for title, picture in pictures.items()}
    return found


def _picture(arrays: Arrays, kind: Kind, small: bool = False) -> Image.Image | None:
    """The images side by side; None if the trial lacks any of them, or was read from a damaged file."""
    first = arrays.get(kind.arrays[0], np.empty(0))
    side = max(first.shape[-2:]) if first.ndim > 2 else 0
    small = small and side > _CRISP
    parts = [arrays.get(name, np.empty(0))[: kind.images // (1 + small)] for name in kind.arrays]
    if not all(len(part) for part in parts):
        return None
    if parts[0].ndim == 5:  # strips: each is a row
        columns, images = parts[0].shape[1], np.concatenate(list(parts[0]))
    else:
        columns, images = min(_COLUMNS, len(parts[0])), np.concatenate(parts)
    if images.ndim != 4:
        return None
    picture = Image.fromarray(tile(images, columns))
    wanted = SMALL_SIDE if small else SIDE
    if side > wanted:
        picture = _scaled(picture, wanted / side)
    picture.info["crisp"] = side <= _CRISP
    return picture


def data_address(picture: Image.Image, at_most: int) -> str:
    """A picture as WebP of at most so many bytes: first of lower quality, then smaller."""
    encoded = _webp(picture, 100 if picture.info.get("crisp") else _QUALITIES[0])
    for quality in _QUALITIES:
        if len(encoded) <= at_most:
            break
        encoded = _webp(picture, quality)
    while len(encoded) > at_most and min(picture.size) > _CRISP:
        picture = _scaled(picture, max(0.3, 0.95 * (at_most / len(encoded)) ** 0.5))
        encoded = _webp(picture, _QUALITIES[-1])
    return "data:image/webp;base64," + base64.b64encode(encoded).decode()


def _scaled(picture: Image.Image, factor: float) -> Image.Image:
    return picture.resize((max(1, round(factor * picture.width)), max(1, round(factor * picture.height))))


def _webp(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "webp", quality=quality, lossless=quality == 100, method=0)  # 0 is the fastest, 4 % larger
    return file.getvalue()
