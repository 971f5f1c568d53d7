"""Candidates for the feature network, to be compared by `benchmarks.instrument`.

Each is a way to train small networks on a data set's training split. What differs is what they must tell apart and what
they must ignore (`study.measure.instrument.Task`).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from study.config import DataSummary
from study.data.datasets import ImageData
from study.measure.features import Architecture, halving_widths, is_tiny
from study.measure.instrument import FAMILIES, Features, Task, network_spec, trained_instrument
from study.measure.perceptual import ClassifierSpec, trained_classifier

CANDIDATES: dict[str, Task | None] = {
    "0.1": None,
    "0.1, unit length": None,
    "classes alone": Task(classes=True),
    "classes, nuisances": Task(classes=True, nuisances=True),
    **FAMILIES,
}
"""Name -> what the networks learn; None is the classifier of version 0.1 with its ReLU features.

All but `0.1` use features that are divided by their length.
"""


def build(name: str, data: ImageData, seed: int, cache: Path) -> Features:
    """Trains a candidate, seconds to minutes on one thread, or reads it from the cache.

    Args:
        name: One of `CANDIDATES`.
        data: The data set.
        seed: Another seed gives other networks throughout.
        cache: A folder for what was trained.
    """
    task = CANDIDATES[name]
    if task is not None:
        spec = network_spec(task, data.summary)
        seeds = tuple(1000 * seed + number for number in range(len(spec.seeds)))
        return trained_instrument(name, dataclasses.replace(spec, seeds=seeds), data, cache).build(data.summary)
    classifier = trained_classifier(data, _classifier_of_0_1(data.summary, seed), cache).build(data.summary)

    def features(x: Tensor) -> Tensor:
        found = torch.cat([classifier.intermediate(part)[-1] for part in x.split(512)])
        return found if name == "0.1" else F.normalize(found, dim=1)

    return features


def _classifier_of_0_1(summary: DataSummary, seed: int) -> ClassifierSpec:
    epochs = min(40, max(4, round(200_000 / summary.train_size)))
    if is_tiny(summary):
        return ClassifierSpec(Architecture("perceptron", (128,), 0, 32), epochs, 1e-2, seed)
    return ClassifierSpec(Architecture("convolutions", halving_widths(16, summary), 5, 64), epochs, 6e-3, seed)
