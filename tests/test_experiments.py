"""The published experiments on small data: a made folder of photographs, a made colour set, and real MNIST."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from PIL import Image

from study.cli import command_status
from study.config import TrialConfig
from study.data.datasets import ImageData, load_dataset
from study.data.splits import Split, total_variance
from study.disk.layout import cache_path
from study.measure import context
from study.measure.context import EvaluationContext, prepare_context
from study.measure.evaluate import Evaluator
from study.measure.perceptual import Perceptual, perceptual_spec, trained_classifier
from study.measure.pictures import write_history, write_pictures
from study.model.stacked import train_first_stage
from study.results.frame import load_study
from study.run import run
from study.space import load_space
from study.training.loop import train
from study.training.pretrain import pretrain
from study.tuning import preparing
from tests.helpers import made_summary

_PREPARE = preparing._prepare


def flowers(root: Path, count: int = 12) -> Path:
    """A folder of three classes of coloured discs; some images are grey, transparent or of odd size."""
    generator = np.random.default_rng(0)
    for label, colour in enumerate(((220, 60, 60), (60, 200, 80), (70, 80, 220))):
        folder = root / f"class{label}"
        folder.mkdir(parents=True)
        for index in range(count):
            width, height = ((64, 64), (64, 64), (91, 70), (64, 77))[index % 4]
            y, x = np.mgrid[:height, :width]
            centre = generator.uniform(0.3, 0.7, 2) * (height, width)
            inside = np.hypot(y - centre[0], x - centre[1]) < generator.uniform(10, 24)
            pixels = np.where(inside[..., None], colour, 235) + generator.normal(0, 4, (height, width, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            mode = {1: "L", 2: "RGBA"}.get(index, "RGB")
            image.convert(mode).save(folder / f"{index:02}.png")
    (root / "class0" / "notes.txt").write_text("roses are red")
    return root


def first_point(name: str, data: ImageData, index: int, **fixed: int) -> TrialConfig:
    """The config of a space's first point with that index."""
    space = load_space(name).space
    point = dict(space.first_points(data.summary)[index])
    return space.config(data.summary, space.suggest(optuna.trial.FixedTrial(point), data.summary), fixed)


def test_photographs_train_with_the_deep_network_and_every_loss_term(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MIN_GENERATED", 40)  # the deep network is slow on a CPU
    with caplog.at_level(logging.WARNING):
        data = load_dataset(f"folder:{flowers(tmp_path / 'flowers')}")
    expected = (
        "left out 1 file that is not a readable image: class0/notes.txt",
        "36 images of 3 sizes, 64x64 to 91x70 pixels, are cropped to their central squares and resized to 64x64",
        "3 of 36 images are grey, the others have colours",
        "3 images are transparent in places, which become white",
        "only 7 images to measure with",
    )
    assert all(part in line for part, line in zip(expected, caplog.messages, strict=True))
    assert data.summary.shape == (3, 64, 64) and data.classes == ("class0", "class1", "class2")
    assert data.summary.train_size + data.summary.validation_size + data.summary.test_size == 36
    config = first_point("loss_terms", data, 1, epochs=4)
    assert config.width == 16
    config = config.replace(width=4, batch_size=8)
    assert (config.network, config.likelihood, config.encoder, config.regularizer) == (
        "deep",
        "laplace",
        "gaussian",
        "kl",
    )
    assert config.perceptual_weight > 0 and config.total_variation_weight > 0
    evaluator = Evaluator(data, prepare_context(data, tmp_path))
    attempt = tmp_path / "trial" / "attempt-1"
    attempt.mkdir(parents=True)
    results = []
    for result in train(config, data, evaluate=evaluator.search_metrics, pretrained=pretrain(config, data, tmp_path)):
        results.append(result)
        if result.metrics:
            write_history(result.model, data, attempt, result.epoch)
    write_pictures(results[-1].model, data, attempt)
    assert results[-1].train["reconstruction"] < 0.9 * results[0].train["reconstruction"]
    assert all(math.isfinite(value) for value in evaluator.final_metrics(results[-1].model).values())
    arrays = np.load(attempt / "arrays.npz")
    assert arrays["history_epochs"].tolist() == [1, 2, 3, 4]
    assert arrays["history"].shape[2:] == (3, 64, 64)


def _prepare_for_few_samples(*arguments: Any) -> EvaluationContext:
    """Prepares for few generated images, because the deep network is slow on a CPU."""
    before = context.MIN_GENERATED
    context.MIN_GENERATED = 40
    try:
        return _PREPARE(*arguments)
    finally:  # the process will do other tasks
        context.MIN_GENERATED = before


@pytest.mark.usefixtures("ray_session")
def test_photographs_go_through_the_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "_prepare", _prepare_for_few_samples)
    folder, runs = flowers(tmp_path / "flowers", count=6), tmp_path / "runs"
    command = ["--space", "loss_terms", "--dataset", f"folder:{folder}", "--name", "flowers"]
    limits = ["--num-trials", "2", "--epochs", "1", "--runs-dir", str(runs)]
    with caplog.at_level(logging.WARNING):
        assert command_status(run, [*command, *limits]) == 0
    [line] = [message for message in caplog.messages if "not a readable image" in message]
    assert "notes.txt" in line
    trials = load_study(runs, "flowers").trials.set_index("number")
    assert trials["outcome"].tolist() == ["completed"] * 2
    assert set(trials["network"]) == {"deep"}
    assert trials.loc[1, ["likelihood", "perceptual_weight", "total_variation_weight"]].tolist() == [
        "laplace",
        0.1,
        0.2,
    ]
    assert np.isfinite(trials[["test/reconstruction_mse", "test/sample_fid"]].to_numpy()).all()
    for number in trials.index:
        [arrays] = (runs / "flowers" / "trials" / f"{number:04}").glob("attempt-1/arrays.npz")
        assert np.load(arrays)["samples"].shape[1:] == (3, 64, 64)
    assert (runs / "flowers" / "report" / "report.html").exists()
    assert len([*cache_path(runs).glob("folder-*.npz")]) == 1  # the next start does not decode them again


def test_the_perceptual_term_is_measured_by_the_perceptual_classifier(cache: Path) -> None:
    data = colours()
    second = trained_classifier(data, perceptual_spec(data.summary), cache)
    used = pretrain(TrialConfig(perceptual_weight=1.0), data, cache).features
    assert isinstance(used, Perceptual)
    torch.testing.assert_close(dict(used.classifier.state_dict()), dict(second.state))


def colours(count: int = 160) -> ImageData:
    """A colour set in CIFAR-10's shape: a bright square in the class's colour on noise that differs by pixel."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, 32, 32, generator=generator) * torch.linspace(0, 0.4, 32)
    for index, label in enumerate(labels.tolist()):
        top, left = (torch.rand(2, generator=generator) * 16).long().tolist()
        images[index, :, top : top + 12, left : left + 12] = 0.1
        images[index, label, top : top + 12, left : left + 12] = 0.9
    pixels = (images * 255).round().to(torch.uint8)
    splits = [Split(pixels[part], labels[part]) for part in (slice(0, 96), slice(96, 128), slice(128, None))]
    summary = dataclasses.replace(
        made_summary(3, 32, 32, total_variance(splits[0].images)),
        name="colours",
        train_size=96,
        validation_size=32,
        test_size=32,
        num_classes=3,
        defaults={"network": "conv", "width": 8, "batch_size": 16, "learning_rate": 3e-3, "epochs": 10},
    )
    return ImageData("colours", splits[0], splits[1], splits[2], ("red", "green", "blue"), summary)


@pytest.fixture(scope="module")
def colour_evaluator(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    torch.set_num_threads(1)
    data = colours()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context, "MIN_GENERATED", 100)
        return Evaluator(data, prepare_context(data, tmp_path_factory.mktemp("cache")))


def test_learned_variances_on_colour_images(colour_evaluator: Evaluator) -> None:
    data = colour_evaluator.data
    elbos = {}
    for index in range(3):  # the two learned variances, and unit variance at weight 1
        config = first_point("cifar_likelihood", data, index, epochs=10)
        for result in train(config, data, evaluate=colour_evaluator.search_metrics):
            last = result
        assert last.metrics["elbo"] == last.metrics["log_likelihood"] - last.metrics["kl"]
        elbos[config.likelihood] = last.metrics["elbo"]
        means, draws = last.model.sample(4), last.model.sample(4, draw=True)
        assert means.shape == draws.shape == (4, 3, 32, 32)
        assert draws.min() >= 0 and draws.max() <= 1
        assert draws.diff(dim=3).abs().mean() > 1.2 * means.diff(dim=3).abs().mean()  # pixel noise and all
    # Each model can do what the previous one can, and the noise's variance does differ between pixels.
    assert elbos["gaussian"] < elbos["gaussian_scalar"] < elbos["gaussian_pixel"]


@pytest.mark.slow
def test_first_stage_on_mnist_is_nearly_lossless(mnist_dir: Path) -> None:
    data = load_dataset("mnist", mnist_dir, download=False)
    stage = train_first_stage(data.summary, data.train.images)
    assert stage.reconstruction_mse(data.test.images) <= 0.003
