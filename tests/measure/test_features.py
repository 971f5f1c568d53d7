from __future__ import annotations

import dataclasses
import io
import logging
import os
import threading
from pathlib import Path

import pytest
import torch

from study.data.datasets import ImageData
from study.data.splits import Split
from study.measure.features import (
    Classifier,
    ClassifierSpec,
    cached,
    feature_network_spec,
    perceptual_classifier,
    perceptual_spec,
    trained_classifier,
)
from tests.helpers import made_summary


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_feature_network_knows_the_digits_and_is_cached(digits: ImageData, cache: Path) -> None:
    feature_network = trained_classifier(digits, feature_network_spec(digits.summary), cache)
    assert feature_network.accuracy >= 0.95
    files = list(cache.iterdir())
    assert len(files) == 1
    written = files[0].stat().st_mtime_ns
    again = trained_classifier(digits, feature_network_spec(digits.summary), cache)
    assert (again.hash, again.accuracy) == (feature_network.hash, feature_network.accuracy)
    assert files[0].stat().st_mtime_ns == written
    classifier = again.build(digits.summary)
    x = digits.test.images.float() / 255
    assert classifier.features(x).shape == (360, 32)
    assert (classifier(x).argmax(1) == digits.test.labels).float().mean() >= 0.93
    assert not classifier.training and not any(parameter.requires_grad for parameter in classifier.parameters())


def test_feature_network_is_the_same_whatever_threads_and_global_seed(digits: ImageData, tmp_path: Path) -> None:
    spec = dataclasses.replace(feature_network_spec(digits.summary), epochs=2)
    hashes = set()
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            torch.manual_seed(number)
            before = torch.get_rng_state()
            hashes.add(trained_classifier(digits, spec, tmp_path / str(number)).hash)
            assert torch.equal(torch.get_rng_state(), before)
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert len(hashes) == 1


def test_feature_network_never_learns_from_validation_or_test(digits: ImageData, tmp_path: Path) -> None:
    spec = dataclasses.replace(feature_network_spec(digits.summary), epochs=1)
    noise = Split(255 - digits.validation.images, digits.validation.labels.flip(0))
    poisoned = dataclasses.replace(digits, validation=noise, test=noise)
    hashes = {trained_classifier(data, spec, tmp_path / name).hash for name, data in (("a", digits), ("b", poisoned))}
    assert len(hashes) == 1


def test_perceptual_classifier_is_another_one(digits: ImageData, tmp_path: Path) -> None:
    feature_network, other = feature_network_spec(digits.summary), perceptual_spec(digits.summary)
    assert feature_network.seed != other.seed and feature_network.kind != other.kind
    perceptual = perceptual_classifier(digits, tmp_path)
    x = torch.rand(5, 1, 8, 8, requires_grad=True)
    activations = perceptual(x)
    assert activations.shape[0] == 5 and activations.ndim == 2
    (gradient,) = torch.autograd.grad(activations.sum(), x)
    assert gradient.abs().sum() > 0
    stages = [stage.detach().flatten(1).mean() for stage in perceptual.classifier.intermediate(x)]
    assert activations.detach().mean() == pytest.approx(float(sum(stages) / len(stages)), rel=1e-5)


@pytest.mark.parametrize(
    ("channels", "height", "width"), [(1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 40, 17), (1, 8, 8)]
)
def test_classifiers_take_any_image(channels: int, height: int, width: int) -> None:
    summary = made_summary(channels, height, width)
    for spec in (feature_network_spec(summary), perceptual_spec(summary)):
        classifier = Classifier(spec, summary)
        assert classifier.features(torch.rand(2, channels, height, width)).shape == (2, spec.features)
        assert classifier(torch.rand(2, channels, height, width)).shape == (2, 10)


def test_every_part_of_the_spec_decides_the_cache_file(digits: ImageData, tmp_path: Path) -> None:
    base = ClassifierSpec("perceptron", (4,), 0, 3, 1, 1e-3, seed=0)
    for change in ({}, {"channels": (5,)}, {"features": 4}, {"epochs": 2}, {"seed": 1}, {"version": 2}):
        trained_classifier(digits, dataclasses.replace(base, **change), tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


def test_damaged_cache_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "thing.pt"
    cached(path, lambda: {"value": torch.arange(100)})
    whole = path.read_bytes()
    middle = whole.index(torch.arange(100).numpy().tobytes()) + 400  # inside a number: torch would not notice
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for content in (whole[:-40], flipped, b"", b"not a file of tensors"):
        caplog.clear()
        path.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            assert cached(path, lambda: {"value": torch.ones(1)})["value"] == 1
        assert "damaged" in caplog.text
        assert cached(path, lambda: {})["value"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["thing.pt"]


def test_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cached(tmp_path / "file" / "cache" / "thing.pt", lambda: {"value": 1}) == {"value": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_cache_survives_a_race(tmp_path: Path) -> None:
    path = tmp_path / "thing.pt"
    barrier = threading.Barrier(4)
    results = []

    def compute() -> dict[str, torch.Tensor]:
        barrier.wait()
        return {"value": torch.arange(50_000)}

    workers = [threading.Thread(target=lambda: results.append(cached(path, compute))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4
    assert torch.equal(cached(path, dict)["value"], torch.arange(50_000))
    assert [file.name for file in tmp_path.iterdir()] == ["thing.pt"]


def test_cache_file_is_for_everybody_and_holds_no_pickled_objects(tmp_path: Path) -> None:
    path = tmp_path / "thing.pt"
    cached(path, lambda: {"value": 1})
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert torch.load(io.BytesIO(path.read_bytes()[32:]), weights_only=True) == {"value": 1}
