"""Figures as `data:` addresses in the page: a fraction of a PNG's bytes, so that one page holds all of them."""

from __future__ import annotations

import base64
import io

from PIL import Image

_COLOURS = 256
_QUALITY = 75
_PHOTOGRAPHS = 25_000
"""Figures with more colours show photographs: those of lines and grey images have up to 21,000, others from 28,000."""


_SMALL = 100_000
"""A PNG with fewer bytes is embedded as it is, which takes no time."""


def embedded(png: bytes) -> str:
    """A figure as a PNG of 256 colours, or as WebP if it shows photographs, which so few colours would change."""
    if len(png) < _SMALL:
        return f"data:image/png;base64,{base64.b64encode(png).decode()}"
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    file = io.BytesIO()
    if picture.getcolors(_PHOTOGRAPHS) is None:
        kind = "webp"
        picture.save(file, kind, quality=_QUALITY, method=0)
    else:
        kind = "png"
        picture.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, kind)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
