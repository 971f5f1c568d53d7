from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from study.data.datasets import ImageData
from study.data.image_data import SPLITS, UNLABELLED
from study.data.pixels import as_float
from study.data.splits import Split
from study.measure.distortions import with_nuisances
from study.measure.features import Architecture, Classifier
from study.measure.instrument import FAMILIES, network_spec
from study.measure.perceptual import ClassifierSpec, perceptual_classifier, perceptual_spec, trained_classifier
from tests.helpers import small


def test_perceptual_classifier_is_another_network_than_the_feature_networks(digits: ImageData, cache: Path) -> None:
    other = perceptual_spec(digits.summary)
    for task in FAMILIES.values():
        spec = network_spec(task, digits.summary)
        assert other.seed not in spec.seeds and spec.architecture.kind != other.architecture.kind
    perceptual = perceptual_classifier(digits, cache)
    x = torch.rand(5, 1, 8, 8, requires_grad=True)
    activations = perceptual(x)
    assert activations.shape[0] == 5 and activations.ndim == 2
    (gradient,) = torch.autograd.grad(activations.sum(), x)
    assert gradient.abs().sum() > 0
    stages = [stage.detach().flatten(1).mean() for stage in perceptual.classifier.intermediate(x)]
    assert activations.detach().mean() == pytest.approx(float(sum(stages) / len(stages)), rel=1e-5)


def test_it_knows_the_digits_and_is_cached(digits: ImageData, cache: Path) -> None:
    spec = perceptual_spec(digits.summary)
    trained = trained_classifier(digits, spec, cache)
    assert trained.accuracy is not None and trained.accuracy >= 0.95
    assert trained_classifier(digits, spec, cache).hash == trained.hash


def test_every_part_of_the_spec_decides_the_cache_file(digits: ImageData, tmp_path: Path) -> None:
    small = Architecture("perceptron", (4,), 0, 3)
    base = ClassifierSpec(small, 1, 1e-3, seed=0)
    changes = [{}, {"architecture": dataclasses.replace(small, channels=(5,))}, {"epochs": 2}, {"seed": 1}]
    for change in (*changes, {"version": 2}):
        trained_classifier(digits, dataclasses.replace(base, **change), tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


def test_images_of_one_class_teach_it_something(digits: ImageData, tmp_path: Path) -> None:
    """With one class the cross-entropy is 0 from the first step: such a classifier kept its initial weights."""
    few = small(digits, 200)
    split = {name: Split(few.split(name).images, torch.zeros(200, dtype=torch.int64)) for name in SPLITS}
    one = dataclasses.replace(few, **split, classes=UNLABELLED, summary=dataclasses.replace(few.summary, num_classes=1))
    spec = perceptual_spec(one.summary)
    trained = trained_classifier(one, spec, tmp_path)
    assert trained.accuracy is None
    x = as_float(one.validation.images)
    view = with_nuisances(x, torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        untrained = Classifier(spec.architecture, one.summary).eval()

    def found(network: Classifier) -> float:
        """Share of images that are found by their contrast, brightness, blur and noise aside."""
        with torch.no_grad():
            first, second = (F.normalize(network.features(images), dim=1) for images in (x, view))
        return float(((first @ second.T).argmax(1) == torch.arange(len(x))).float().mean())

    assert found(trained.build(one.summary)) > found(untrained) + 0.1
