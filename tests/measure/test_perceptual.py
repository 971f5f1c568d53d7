from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from study.data.datasets import ImageData
from study.measure.features import Architecture
from study.measure.instrument import FAMILIES, network_spec
from study.measure.perceptual import ClassifierSpec, perceptual_classifier, perceptual_spec, trained_classifier


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
    assert trained.accuracy >= 0.95
    assert trained_classifier(digits, spec, cache).hash == trained.hash


def test_every_part_of_the_spec_decides_the_cache_file(digits: ImageData, tmp_path: Path) -> None:
    small = Architecture("perceptron", (4,), 0, 3)
    base = ClassifierSpec(small, 1, 1e-3, seed=0)
    changes = [{}, {"architecture": dataclasses.replace(small, channels=(5,))}, {"epochs": 2}, {"seed": 1}]
    for change in (*changes, {"version": 2}):
        trained_classifier(digits, dataclasses.replace(base, **change), tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
