from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from analysis.explorer import thumbnails as module
from analysis.explorer.thumbnails import KINDS, MOST_BYTES, data_address, thumbnails
from analysis.plotting.pictures import tile
from study.results.frame import load_study
from tests.helpers_study import make_study


def decoded(address: str) -> tuple[Image.Image, int]:
    content = base64.b64decode(address.removeprefix("data:image/webp;base64,"))
    return Image.open(io.BytesIO(content)), len(content)


def test_each_trial_has_its_own_pictures(tmp_path: Path) -> None:
    make_study(tmp_path, arrays=True, mixed=False, trials=3)
    frames = load_study(tmp_path, "toy")
    found = thumbnails(frames, [2, 0])
    assert list(found) == [2, 0]
    assert found[0] != found[2]
    saved = frames.arrays(0)
    assert saved is not None
    titles = [kind.title for kind in KINDS if all(name in saved for name in kind.arrays)]
    assert list(found[0]) == titles
    assert KINDS[0].title in titles


def test_small_images_keep_every_pixel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (32, 1, 8, 8), dtype=np.uint8)
    picture = Image.fromarray(tile(images, 8))
    picture.info["crisp"] = True
    shown, _ = decoded(data_address(picture, 10**6))
    assert np.array_equal(np.asarray(shown.convert("RGB")), np.asarray(picture))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(700, MOST_BYTES), st.booleans(), st.integers(0, 2**31))
def test_no_thumbnail_is_larger_than_allowed(width: int, height: int, most: int, crisp: bool, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)  # the worst there is
    picture = Image.fromarray(noise)
    picture.info["crisp"] = crisp
    shown, size = decoded(data_address(picture, most))
    assert size <= most or min(shown.size) <= 16
    assert abs(shown.width / shown.height - width / height) <= 0.3 * width / height + 0.5


def test_many_trials_share_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(tmp_path, arrays=True, mixed=False, trials=6)
    frames = load_study(tmp_path, "toy")
    monkeypatch.setattr(module, "BUDGET", 20_000)
    monkeypatch.setattr(module, "MOST_TRIALS", 5)
    found = thumbnails(frames, range(6))
    assert list(found) == [0, 1, 2, 3, 4]
    sizes = [decoded(address)[1] for pictures in found.values() for address in pictures.values()]
    assert max(sizes) <= 20_000 // (5 * len(KINDS))


@pytest.mark.parametrize("shape", [(4, 3, 128, 96), (4, 1, 28, 28)])
def test_large_images_are_made_smaller(shape: tuple[int, ...]) -> None:
    images = np.zeros(shape, np.uint8)
    picture = module._picture({"samples": images}, KINDS[0])
    assert picture is not None
    assert picture.width <= 4 * (module.SIDE + 2)


@pytest.mark.parametrize("array", [np.empty(0), np.zeros((3, 5)), np.zeros((2, 2, 2, 2, 2, 2), np.uint8)])
def test_damaged_arrays_give_no_picture(array: np.ndarray) -> None:
    assert module._picture({"samples": array}, KINDS[0]) is None
