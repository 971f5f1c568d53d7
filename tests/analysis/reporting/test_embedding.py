from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from analysis.reporting import embedding
from analysis.reporting.embedding import embedded


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def lines() -> np.ndarray:
    """Thin lines in three colours, as figures have them."""
    pixels = np.full((400, 600, 3), 255, np.uint8)
    across = np.arange(600)
    for line in range(60):
        colour = ((0, 114, 178), (230, 159, 0), (107, 107, 107))[line % 3]
        pixels[(200 + 190 * np.sin(across / 40 + line / 3)).astype(int), across] = colour
    return pixels


def photograph() -> np.ndarray:
    """Smooth in all three channels, with a little noise, as photographs are."""
    y, x = np.mgrid[:400, :600] / 400
    smooth = np.stack([np.sin(3 * x + y), np.cos(2 * y), np.sin(4 * x * y)], axis=-1) * 100 + 128
    return (smooth + np.random.default_rng(0).normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8)


def greys() -> np.ndarray:
    """Every grey there is, beside a coloured label, as grids of grey images have them."""
    pixels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(200, axis=0).copy()
    pixels[:8, :40] = (213, 94, 0)
    return pixels


@pytest.mark.parametrize(
    ("pixels", "kind", "most"), [(lines(), "png", 1), (greys(), "png", 1), (photograph(), "webp", 6)]
)
def test_a_figure_looks_the_same_and_is_smaller(
    pixels: np.ndarray, kind: str, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base64.b64decode(embedded(png(lines())).partition(",")[2]) == png(lines())  # small enough as it is
    monkeypatch.setattr(embedding, "_SMALL", 0)
    head, _, content = embedded(png(pixels)).partition(";base64,")
    assert head == f"data:image/{kind}"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))
    assert np.abs(shown.astype(float) - pixels).mean() <= most
    if kind == "png":
        assert np.abs(shown.astype(float) - pixels).max() <= 3
    if pixels.size > 200_000:
        assert len(content) < len(png(pixels))
