"""One image file: what it is, read without decoding it where that is enough, and its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from study.config import UserError

MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485
_GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_PLAIN_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_COLOUR_PNG = "PNG of 16 bits"
"""What Pillow squeezes to eight bits: PNG files of 16 bits in colour or with transparency."""


class Header(NamedTuple):
    """What an image file says of itself.

    Attributes:
        size: Height and width in pixels, upright.
        grey: It has no colours.
        deep: The kind of its pixels if they may have more than eight bits, such as `I;16`; "" for bytes.
        lowest: Smallest finite pixel of a deep image; else 0.
        largest: Largest one of a deep image; else 255.
        unknown: Some of its pixels are NaN or infinite.
        transparent: It says which pixels are transparent.
        turned: It is stored turned or mirrored.
        frames: Images in the file.
        colours: Its way to store colours if that is no usual one, such as `CMYK`; else "".
    """

    size: tuple[int, int]
    grey: bool
    deep: str
    lowest: float
    largest: float
    unknown: bool
    transparent: bool
    turned: bool
    frames: int
    colours: str


def read_header(path: Path) -> Header | None:
    """The header of an image file; None if it is no image that can be read.

    Raises:
        UserError: It has more pixels than is safe to decode.
    """
    try:
        with _open(path) as image:
            height, width = image.height, image.width
            deep = _deep_kind(image)
            turn = _turn(image)
            if turn in (5, 6, 7, 8):  # these orientations swap the sides
                height, width = width, height
            transparent = image.has_transparency_data or (deep == _COLOUR_PNG and image.mode != "RGB")
            grey = image.mode in _GREY_MODES and deep != _COLOUR_PNG
            frames = getattr(image, "n_frames", 1)
            colours = "" if deep or image.mode in _PLAIN_MODES else image.mode
            lowest, largest, unknown = 0.0, 255.0, False
            if deep:
                values = _deep_values(path, image, deep)
                if deep == _COLOUR_PNG:
                    grey = values.shape[2] < 3
                finite = values[np.isfinite(values)]
                unknown = finite.size < values.size
                lowest, largest = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
            return Header(
                (height, width), grey, deep, lowest, largest, unknown, transparent, turn in _TURNS, frames, colours
            )
    except UserError:
        raise
    except Exception:  # a broken file can make Pillow raise anything
        return None


def read_pixels(
    path: Path, channels: int, size: tuple[int, int], tops: Mapping[str, float], *, as_bytes: bool
) -> np.ndarray | None:
    """The image [C, H, W], upright, transparency on white, cropped and resized to `size`; None if it does not decode.

    Args:
        path: The file.
        channels: 1 for grey, 3 for colour.
        size: Height and width.
        tops: The value that is white, by kind of deep pixels.
        as_bytes: Give uint8 instead of float32 in [0, 1].
    """
    height, width = size
    try:
        with _open(path) as opened:
            if deep := _deep_kind(opened):
                turn = _turn(opened)
                values = _deep_values(path, opened, deep)
                values = np.nan_to_num(values, nan=0, posinf=0, neginf=0) / tops[deep]
                planes = [_fitted(plane, turn, size) for plane in _channels(values.clip(0, 1), channels)]
                pixels = np.stack(planes).clip(0, 1)
                return np.rint(pixels * 255).astype(np.uint8) if as_bytes else pixels
            mode = "L" if channels == 1 else "RGB"
            opened.draft(mode, (2 * width, 2 * height))  # decodes a JPEG at a fraction of its size, much faster
            image = opened if _turn(opened) == 1 else ImageOps.exif_transpose(opened)
            image = _opaque(image).convert(mode)
        if image.size != (width, height):
            image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    except Exception:  # a broken file can make Pillow raise anything
        return None
    array = np.asarray(image, dtype=np.uint8)
    array = array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))
    return array if as_bytes else array.astype(np.float32) / 255


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


def _turn(image: Image.Image) -> int:
    """How an image is stored, by EXIF; 1 is upright."""
    # Of a PNG without these, Pillow would decode all of it to find out.
    if image.format == "PNG" and not {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"} & image.info.keys():
        return 1
    return image.getexif().get(_ORIENTATION, 1)


def _deep_kind(image: Image.Image) -> str:
    """The kind of pixels that may have more than eight bits; it does not say how many are used. "" for bytes."""
    if image.mode.startswith("I") or image.mode == "F":
        return image.mode
    tiles = getattr(image, "tile", None)
    packed = str(tiles[0][3]) if tiles else ""
    return _COLOUR_PNG if image.format == "PNG" and packed.endswith(";16B") else ""


def _deep_values(path: Path, image: Image.Image, deep: str) -> np.ndarray:
    """The pixels of a deep image as they are stored, float64 [H, W, C]."""
    if deep == _COLOUR_PNG:
        from torchvision.io import ImageReadMode, read_image

        return read_image(str(path), ImageReadMode.UNCHANGED).numpy().transpose(1, 2, 0).astype(np.float64)
    return np.asarray(image, dtype=np.float64)[..., None]


def _channels(values: np.ndarray, channels: int) -> list[np.ndarray]:
    """Pixels [H, W, 1 to 4] in [0, 1], the last of 2 or 4 being opacity, as 1 or 3 planes [H, W] on white."""
    if values.shape[2] in (2, 4):
        opacity = values[..., -1:]
        values = values[..., :-1] * opacity + (1 - opacity)
    return [values[..., index % values.shape[2]] for index in range(channels)]


def _fitted(plane: np.ndarray, turn: int, size: tuple[int, int]) -> np.ndarray:
    """A plane [H, W] upright, cropped and resized: float32 [h, w]."""
    image = Image.fromarray(plane.astype(np.float32))
    if turn in _TURNS:
        image = image.transpose(_TURNS[turn])
    if image.size != (size[1], size[0]):
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.float32)


def _opaque(image: Image.Image) -> Image.Image:
    """The image without transparency, on white."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
