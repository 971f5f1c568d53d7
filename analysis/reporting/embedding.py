"""Figures as `data:` addresses in the page: a fraction of a PNG's bytes, so that one page holds all of them."""

from __future__ import annotations

import base64
import io

from PIL import Image

_COLOURS = 256
_QUALITY = 85


def embedded(png: bytes) -> str:
    """A figure as a PNG of 256 colours, good for lines, or as WebP, good for photographs: whichever is smaller."""
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    palette, photograph = io.BytesIO(), io.BytesIO()
    picture.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(palette, "png")
    picture.save(photograph, "webp", quality=_QUALITY, method=0)
    kind, file = min(("png", palette), ("webp", photograph), key=lambda found: len(found[1].getvalue()))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
