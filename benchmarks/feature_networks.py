"""Candidates for the instrument of samples, to be compared by `benchmarks.instrument`.

A candidate is a network and a score in its features. The networks differ in what they must tell apart and what they
must ignore (`study.measure.instrument.Task`), or were trained on ImageNet, or not at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from study.config import DataSummary
from study.data.datasets import ImageData
from study.measure import imagenet
from study.measure.comparison import FeatureSet, kid
from study.measure.features import Architecture, Classifier, halving_widths, is_tiny
from study.measure.instrument import FAMILIES, FeatureNetworks, Features, Task, network_spec, trained_instrument
from study.measure.network_training import NetworkSpec
from study.measure.perceptual import ClassifierSpec, trained_classifier

Score = Callable[[FeatureSet, FeatureSet], float]
"""Features of real images and of others -> how far they are apart, 0 or more."""
_LEAST = 1e-6

TASKS: dict[str, Task] = {
    "classes alone": Task(classes=True),
    "classes, nuisances": Task(classes=True, nuisances=True),
    **FAMILIES,
}
"""Network -> what it learns, for those that are trained by the study's own code."""
UNSEEDED = {"imagenet": imagenet.features, "imagenet, 1,280 features": imagenet.pooled}
"""Networks that are the same whatever the seed, and their features."""


def frechet(real: FeatureSet, other: FeatureSet) -> float:
    """The Fréchet distance."""
    return real.fid(other)


def kernel(real: FeatureSet, other: FeatureSet) -> float:
    """KID, at least a millionth: unbiased, it may be negative."""
    return max(_LEAST, kid(real.features, other.features))


def two_samples(real: FeatureSet, other: FeatureSet) -> float:
    """A classifier two-sample test (arXiv 1610.06545): how well a logistic regression tells the two sets apart.

    Twice its accuracy on the half that it has not seen, less 1; at least a thousandth.
    """
    count = min(len(real.features), len(other.features))
    values = np.concatenate([real.features[:count], other.features[:count]])
    truth = np.repeat([0, 1], count)
    seen = np.tile(np.arange(count) % 2 == 0, 2)
    classifier = LogisticRegression(max_iter=200).fit(values[seen], truth[seen])
    return max(1e-3, 2 * float(classifier.score(values[~seen], truth[~seen])) - 1)


class Candidate(NamedTuple):
    """A network (see `build`) and a score in its features."""

    network: str
    score: Score = frechet


CANDIDATES: dict[str, Candidate] = {
    "0.1": Candidate("0.1"),
    "0.1, unit length": Candidate("0.1, unit length"),
    "random": Candidate("random"),
    "classes alone": Candidate("classes alone"),
    "classes, nuisances": Candidate("classes, nuisances"),
    "classes": Candidate("classes"),
    "classes, KID": Candidate("classes", kernel),
    "classes, two samples": Candidate("classes", two_samples),
    "contrast": Candidate("contrast"),
    "imagenet": Candidate("imagenet"),
    "imagenet, 1,280 features": Candidate("imagenet, 1,280 features"),
}
"""All by name. Candidates of one network follow each other."""


def build(network: str, data: ImageData, seed: int, cache: Path) -> Features:
    """A network by name, trained in seconds to minutes on one thread, or read from the cache.

    `0.1` is the classifier of version 0.1 with its ReLU features; all others divide their features by their length.

    Args:
        network: As in `CANDIDATES`.
        data: The data set.
        seed: Another seed gives other networks throughout.
        cache: A folder for what was trained.

    Raises:
        UserError: `imagenet` is not installed.
    """
    if network in UNSEEDED:
        imagenet.check_installed()
        return UNSEEDED[network]
    if network in TASKS:
        return trained_instrument(network, _spec(TASKS[network], data, seed), data, cache).build(data.summary)
    if network == "random":
        spec = _spec(Task(), data, seed)
        return FeatureNetworks([_untrained(spec, data.summary, number) for number in spec.seeds])
    classifier = trained_classifier(data, _classifier_of_0_1(data.summary, seed), cache).build(data.summary)

    def features(x: Tensor) -> Tensor:
        found = torch.cat([classifier.intermediate(part)[-1] for part in x.split(512)])
        return found if network == "0.1" else F.normalize(found, dim=1)

    return features


def _spec(task: Task, data: ImageData, seed: int) -> NetworkSpec:
    spec = network_spec(task, data.summary)
    return dataclasses.replace(spec, seeds=tuple(1000 * seed + number for number in range(len(spec.seeds))))


def _untrained(spec: NetworkSpec, summary: DataSummary, seed: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(spec.architecture, summary)


def _classifier_of_0_1(summary: DataSummary, seed: int) -> ClassifierSpec:
    epochs = min(40, max(4, round(200_000 / summary.train_size)))
    if is_tiny(summary):
        return ClassifierSpec(Architecture("perceptron", (128,), 0, 32), epochs, 1e-2, seed)
    return ClassifierSpec(Architecture("convolutions", halving_widths(16, summary), 5, 64), epochs, 6e-3, seed)
