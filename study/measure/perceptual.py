"""The network of the perceptual loss: trained once per data set, and never the network that measures a model.

A model must not train on the network that measures it, so this classifier has another architecture, another seed and
another training than the feature networks (`study.measure.instrument`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import DataSummary
from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.data.splits import Split
from study.measure.cache import cached, content_hash, content_key
from study.measure.features import Architecture, Classifier, halving_widths, one_thread
from study.measure.network_training import NetworkSpec, Task, train_networks
from study.model.adam import Adam, set_one_cycle

_BATCH = 512
_WITHOUT_CLASSES = Task(contrast=True, structure=True, nuisances=True)


@dataclass(frozen=True)
class ClassifierSpec:
    """Everything that decides a classifier's weights except the data. Raise `version` when the training changes.

    Attributes:
        architecture: Its shape.
        epochs: Passes over the training split.
        learning_rate: Peak of the one-cycle schedule.
        seed: Seed of the initialisation and the batch order.
        version: Version of the training procedure.
    """

    architecture: Architecture
    epochs: int
    learning_rate: float
    seed: int
    version: int = 1


def perceptual_spec(summary: DataSummary) -> ClassifierSpec:
    """The classifier of the perceptual loss: convolutions with other widths, kernels and seed, for any image size."""
    architecture = Architecture("convolutions", halving_widths(12, summary), 3, 48)
    return ClassifierSpec(architecture, _epochs(summary), 6e-3, seed=202)


def _epochs(summary: DataSummary) -> int:
    """Enough epochs to see about 200,000 images, between 4 and 40."""
    return min(40, max(4, round(200_000 / summary.train_size)))


class Perceptual(nn.Module):
    """The frozen activations of a classifier, for the perceptual loss.

    Args:
        classifier: A trained one; its parameters are frozen here.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Activations [B, F] of images [B, C, H, W] in [0, 1], differentiable in the images.

        Every stage is scaled by its size, so that a mean over all activations is the mean of the stages' means.
        """
        stages = [activation.flatten(1) for activation in self.classifier.intermediate(x)]
        total = sum(stage.shape[1] for stage in stages)
        return torch.cat([stage * (total / (len(stages) * stage.shape[1])) for stage in stages], dim=1)


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier's weights and where they come from.

    Attributes:
        spec: What was trained.
        state: The weights, on the CPU.
        hash: Content hash of the weights.
        accuracy: Share of the validation split that is classified correctly; None if there are no classes.
    """

    spec: ClassifierSpec
    state: dict[str, Tensor]
    hash: str
    accuracy: float | None

    def build(self, summary: DataSummary) -> Classifier:
        """The classifier itself, frozen, in evaluation mode, on the CPU."""
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten at once
            classifier = Classifier(self.spec.architecture, summary)
        classifier.load_state_dict(self.state)
        return classifier.eval().requires_grad_(False)


def trained_classifier(data: ImageData, spec: ClassifierSpec, cache_dir: Path) -> TrainedClassifier:
    """The classifier of `spec` for a data set, from the cache or trained now, which takes seconds.

    With fewer than two classes it learns without them, like the feature network `contrast`: to tell images apart, and
    whole from broken ones. A classifier of one class would learn nothing.
    """
    train = _train if data.summary.num_classes > 1 else _train_without_classes
    record = cached(classifier_path(spec, data.summary, cache_dir), lambda: train(data, spec))
    return TrainedClassifier(spec, record["state"], record["hash"], record["accuracy"])


def classifier_path(spec: ClassifierSpec, summary: DataSummary, cache_dir: Path) -> Path:
    """The file that keeps the trained classifier of `spec`."""
    parts = [summary.hash, asdict(spec), *([] if summary.num_classes > 1 else [asdict(_WITHOUT_CLASSES)])]
    return cache_dir / f"classifier-{content_key(*parts)}.pt"


def perceptual_classifier(data: ImageData, cache_dir: Path) -> Perceptual:
    """The feature extractor of the perceptual loss, on the CPU, from the cache or trained now."""
    return Perceptual(trained_classifier(data, perceptual_spec(data.summary), cache_dir).build(data.summary))


def _train_without_classes(data: ImageData, spec: ClassifierSpec) -> dict[str, Any]:
    # A small set is seen more often: contrast between images is learnt more slowly than classes.
    images = max(spec.epochs * data.summary.train_size, min(25_000, 200 * data.summary.train_size))
    record = train_networks(
        data, NetworkSpec(_WITHOUT_CLASSES, spec.architecture, (spec.seed,), images, spec.learning_rate / 2)
    )
    [state] = record["states"]
    return {"state": state, "hash": record["hash"], "accuracy": None}


def _train(data: ImageData, spec: ClassifierSpec) -> dict[str, Any]:
    """Trains with cross-entropy, AdamW and a one-cycle learning rate, always on the CPU."""
    train, validation = data.train.to("cpu"), data.validation.to("cpu")
    with one_thread(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(spec.seed)
        classifier = Classifier(spec.architecture, data.summary)
        generator = torch.Generator().manual_seed(spec.seed)
        batch_size = 64 if len(train) < 20_000 else 128
        steps = spec.epochs * math.ceil(len(train) / batch_size)
        optimizer = Adam(classifier.parameters(), spec.learning_rate, weight_decay=0.01)
        step = 0
        for _ in range(spec.epochs):
            for batch in torch.randperm(len(train), generator=generator).split(batch_size):
                optimizer.zero_grad()
                F.cross_entropy(classifier(as_float(train.images[batch])), train.labels[batch]).backward()
                set_one_cycle(optimizer, step, max(2, steps), spec.learning_rate)
                optimizer.step()
                step += 1
        accuracy = _accuracy(classifier.eval(), validation)
    state = {name: value.detach().clone() for name, value in classifier.state_dict().items()}
    return {"state": state, "hash": content_hash(state), "accuracy": accuracy}


@torch.no_grad()
def _accuracy(classifier: Classifier, split: Split) -> float:
    right = sum(
        int((classifier(as_float(images)).argmax(1) == labels).sum())
        for images, labels in zip(split.images.split(_BATCH), split.labels.split(_BATCH), strict=True)
    )
    return right / len(split)
