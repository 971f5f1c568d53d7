"""Figures as `data:` addresses in the page: a fraction of a PNG's bytes, so that one page holds all of them."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

_COLOURS = 256
_QUALITY = 85
_SMALL = 0.12
"""Bytes for each pixel: a PNG with fewer is taken at once, since WebP of lines would hardly be smaller."""


def embedded(png: bytes) -> str:
    """A figure as a PNG of 256 colours, good for lines, or as WebP, good for photographs: whichever is smaller."""
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    lines = picture.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    kind, content = "png", _encoded(lines, "png")
    if len(content) > _SMALL * picture.width * picture.height:
        photograph = _encoded(picture, "webp", quality=_QUALITY, method=0)
        kind, content = min((kind, content), ("webp", photograph), key=lambda found: len(found[1]))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
