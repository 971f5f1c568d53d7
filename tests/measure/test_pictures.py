from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from study.config import TrialConfig
from study.data.datasets import ImageData
from study.data.splits import Split
from study.measure.pictures import grid, write_history, write_pictures
from study.model.autoencoder import Autoencoder
from study.model.building import build_autoencoder
from tests.helpers import made_summary


def model(data: ImageData, seed: int = 0, **changes: Any) -> Autoencoder:
    torch.manual_seed(seed)
    return build_autoencoder(TrialConfig(latent_dim=4, width=16, **changes), data.summary)


def test_pictures_and_arrays(few_digits: ImageData, tmp_path: Path) -> None:
    autoencoder = model(few_digits)
    write_pictures(autoencoder, few_digits, tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "arrays.npz",
        "images/reconstructions.png",
        "images/samples.png",
    ]
    assert Image.open(tmp_path / "images" / "samples.png").size == (7 * 66 + 2, 7 * 66 + 2)
    assert Image.open(tmp_path / "images" / "reconstructions.png").size == (10 * 66 + 2, 4 * 66 + 2)
    arrays = dict(np.load(tmp_path / "arrays.npz", allow_pickle=False))
    assert {name: values.shape for name, values in arrays.items()} == {
        "codes": (256, 4),
        "labels": (256,),
        "samples": (49, 1, 8, 8),
        "originals": (20, 1, 8, 8),
        "reconstructions": (20, 1, 8, 8),
        "interpolations": (8, 11, 1, 8, 8),
        "morphs": (5, 11, 1, 8, 8),
        "morph_classes": (5, 2),
    }
    assert np.array_equal(arrays["interpolations"][:, 0], arrays["reconstructions"][:8])
    assert np.array_equal(arrays["interpolations"][:, -1], arrays["reconstructions"][8:16])
    validation = {tuple(image.ravel()) for image in few_digits.validation.images.numpy()}
    assert all(tuple(image.ravel()) in validation for image in arrays["originals"])
    with torch.no_grad():
        reconstructed = autoencoder.reconstruct(torch.from_numpy(arrays["originals"]).float() / 255)
    assert np.abs(reconstructed.numpy() * 255 - arrays["reconstructions"]).max() <= 0.51
    assert autoencoder.training


def test_a_stacked_model_also_leaves_what_its_first_stage_makes_of_the_images(
    few_digits: ImageData, tmp_path: Path
) -> None:
    autoencoder = model(few_digits, network="stacked")
    stage = autoencoder.first_stage
    assert stage is not None
    stage.scale.fill_(2.0)
    write_pictures(autoencoder, few_digits, tmp_path)
    arrays = np.load(tmp_path / "arrays.npz", allow_pickle=False)
    x = torch.from_numpy(arrays["originals"]).float() / 255
    expected = stage.decoder(stage.encoder(x)).clamp(0, 1)  # the scale cancels
    assert np.abs(expected.numpy() * 255 - arrays["first_stage"]).max() <= 0.51


def test_pictures_are_the_same_every_time(few_digits: ImageData, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_pictures(model(few_digits), few_digits, tmp_path / name)
        state = torch.get_rng_state() if name == "a" else state
    assert torch.equal(state, torch.get_rng_state())
    for name in ("arrays.npz", "images/samples.png", "images/reconstructions.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_history_of_reconstructions_over_attempts(few_digits: ImageData, tmp_path: Path) -> None:
    attempts = [tmp_path / f"attempt-{number}" for number in (1, 2, 10)]
    models = [model(few_digits, seed=seed) for seed in range(3)]
    for attempt, autoencoder, epochs in zip(attempts, models, ([2, 4], [4, 6], [8]), strict=True):
        attempt.mkdir()
        for epoch in epochs:
            write_history(autoencoder, few_digits, attempt, epoch)
    write_pictures(models[2], few_digits, attempts[-1])
    arrays = np.load(attempts[-1] / "arrays.npz")
    assert arrays["history_epochs"].tolist() == [2, 4, 6, 8]
    x = torch.from_numpy(arrays["originals"][:10]).float() / 255
    for row, trained in enumerate((0, 1, 1, 2)):  # epoch 4 was trained twice, and the newer attempt counts
        with torch.no_grad():
            expected = models[trained].reconstruct(x).numpy() * 255
        assert np.abs(expected - arrays["history"][row]).max() <= 0.51
    assert np.array_equal(arrays["history"][-1], arrays["reconstructions"][:10])


def test_kl_of_each_unit_adds_up_to_the_kl(few_digits: ImageData, tmp_path: Path) -> None:
    autoencoder = model(few_digits, encoder="gaussian", regularizer="kl")
    write_pictures(autoencoder, few_digits, tmp_path)
    units = np.load(tmp_path / "arrays.npz")["kl_per_unit"]
    with torch.no_grad():
        mu, logvar = autoencoder.encode(few_digits.validation.images.float() / 255)
    assert logvar is not None
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(mu, (logvar / 2).exp()), prior).mean(0)
    assert units == pytest.approx(expected.numpy(), rel=1e-4)


@pytest.mark.parametrize("images", [2, 5])
def test_pictures_of_a_tiny_colour_set_of_one_class(tmp_path: Path, images: int) -> None:
    split = Split(torch.randint(0, 256, (images, 3, 20, 12), dtype=torch.uint8), torch.zeros(images, dtype=torch.int64))
    summary = dataclasses.replace(made_summary(3, 20, 12), num_classes=1)
    data = ImageData("tiny", split, split, split, ("only",), summary)
    write_pictures(model(data), data, tmp_path)
    arrays = np.load(tmp_path / "arrays.npz")
    assert arrays["morphs"].shape == (0, 11, 3, 20, 12)
    assert arrays["originals"].shape == (images, 3, 20, 12)


def test_grid_places_every_image() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(8, 2).repeat(8, 3) * 50
    pixels = np.asarray(grid(images, 3))
    assert pixels.shape == (2 * 66 + 2, 3 * 66 + 2, 3)
    assert [int(pixels[30 + 66 * (i // 3), 30 + 66 * (i % 3), 0]) for i in range(6)] == [0, 50, 100, 150, 200, 255]
    colour = np.zeros((1, 3, 64, 64), np.uint8)
    colour[:, 1] = 200
    assert np.asarray(grid(colour, 1))[10, 10].tolist() == [0, 200, 0]
