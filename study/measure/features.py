"""The feature network: a small classifier of the data set, whose features FID and the other feature metrics compare.

Inception's features mean nothing on 28x28 digits, so each data set has its own network. It is trained once, on the
training split only, with its own random numbers and on one CPU thread, so the same data give the same weights. The
weights are cached by content, and every study records their hash. The perceptual loss uses a second classifier with
another seed and architecture, because a model must not train on the network that measures it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import math
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import DataSummary
from study.data.datasets import ImageData
from study.data.splits import Split
from study.model.adam import Adam, set_one_cycle

logger = logging.getLogger(__name__)

_BATCH = 512
_DIGEST = hashlib.sha256().digest_size
_SMALL = 256
"""Images of at most this many numbers get a perceptron: convolutions gain nothing on 8x8."""


@dataclass(frozen=True)
class ClassifierSpec:
    """Everything that decides a classifier's weights except the data. Raise `version` when the training changes.

    Attributes:
        kind: `perceptron` or `convolutions`.
        channels: Units of the hidden layers, or channels of the convolutions, each of which halves the image.
        kernel: Side of the first convolution.
        features: Size of the feature vector.
        epochs: Passes over the training split.
        learning_rate: Peak of the one-cycle schedule.
        seed: Seed of the initialisation and the batch order.
        version: Version of the training procedure.
    """

    kind: str
    channels: tuple[int, ...]
    kernel: int
    features: int
    epochs: int
    learning_rate: float
    seed: int
    version: int = 1


def feature_network_spec(summary: DataSummary) -> ClassifierSpec:
    """The feature network of a data set: 32 features for tiny images, 64 for others."""
    epochs = _epochs(summary)
    if math.prod(summary.shape) <= _SMALL:
        return ClassifierSpec("perceptron", (128,), 0, 32, epochs, 1e-2, seed=101)
    return ClassifierSpec("convolutions", _widths(16, summary), 5, 64, epochs, 6e-3, seed=101)


def perceptual_spec(summary: DataSummary) -> ClassifierSpec:
    """The classifier of the perceptual loss: convolutions with other widths, kernels and seed, for any image size."""
    return ClassifierSpec("convolutions", _widths(12, summary), 3, 48, _epochs(summary), 6e-3, seed=202)


def _epochs(summary: DataSummary) -> int:
    """Enough epochs to see about 200,000 images, between 4 and 40."""
    return min(40, max(4, round(200_000 / summary.train_size)))


def _widths(first: int, summary: DataSummary) -> tuple[int, ...]:
    """Channels that double while the image halves, until its longer side is 8 or less; at least two convolutions."""
    halvings = max(2, math.ceil(math.log2(max(summary.height, summary.width) / 8)))
    return tuple(min(64, first * 2**level) for level in range(halvings))


class Classifier(nn.Module):
    """A small network with a feature vector before its last layer.

    Args:
        spec: Its architecture.
        summary: The data's shape and number of classes.
    """

    def __init__(self, spec: ClassifierSpec, summary: DataSummary) -> None:
        super().__init__()
        channels, height, width = summary.shape
        layers: list[nn.Module] = []
        if spec.kind == "perceptron":
            size = math.prod(summary.shape)
            for hidden in spec.channels:
                layers.append(nn.Sequential(nn.Flatten(), nn.Linear(size, hidden), nn.ReLU()))
                size = hidden
        else:
            for level, maps in enumerate(spec.channels):
                kernel = spec.kernel if level == 0 else 3
                layers.append(nn.Sequential(nn.Conv2d(channels, maps, kernel, 2, kernel // 2), nn.ReLU()))
                channels, height, width = maps, math.ceil(height / 2), math.ceil(width / 2)
            size = channels * height * width
        self.stages = nn.ModuleList(layers)
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(size, spec.features), nn.ReLU())
        self.head = nn.Linear(spec.features, summary.num_classes)

    def intermediate(self, x: Tensor) -> list[Tensor]:
        """The activations of every stage for images [B, C, H, W] in [0, 1], then the feature vector [B, features]."""
        activations = []
        for stage in self.stages:
            x = stage(x)
            activations.append(x)
        return [*activations, self.embedding(x)]

    def features(self, x: Tensor) -> Tensor:
        """The feature vectors of images [B, C, H, W] in [0, 1]: [B, features]."""
        return self.intermediate(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Class logits [B, classes]."""
        return self.head(self.features(x))


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
        accuracy: Share of the validation split that is classified correctly.
    """

    spec: ClassifierSpec
    state: dict[str, Tensor]
    hash: str
    accuracy: float

    def build(self, summary: DataSummary) -> Classifier:
        """The classifier itself, frozen, in evaluation mode, on the CPU."""
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten at once
            classifier = Classifier(self.spec, summary)
        classifier.load_state_dict(self.state)
        return classifier.eval().requires_grad_(False)


def trained_classifier(data: ImageData, spec: ClassifierSpec, cache_dir: Path) -> TrainedClassifier:
    """The classifier of `spec` for a data set, from the cache or trained now, which takes seconds."""
    key = content_key(data.summary.hash, asdict(spec))
    record = cached(cache_dir / f"classifier-{key}.pt", lambda: _train(data, spec))
    return TrainedClassifier(spec, record["state"], record["hash"], record["accuracy"])


def perceptual_classifier(data: ImageData, cache_dir: Path) -> Perceptual:
    """The feature extractor of the perceptual loss, on the CPU, from the cache or trained now."""
    return Perceptual(trained_classifier(data, perceptual_spec(data.summary), cache_dir).build(data.summary))


def content_key(*parts: Any) -> str:
    """A short hash of JSON-able parts, for cache file names."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12).hexdigest()


def cached(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `compute` returns, read from a file if there is a good one, else computed and written.

    The file holds tensors and plain values after a digest of them. A reader never sees half a file: if two processes
    race, both compute, and one file replaces an equal one. A damaged file is computed again. If the folder cannot be
    written, the result is used but not kept.
    """
    try:
        stored = path.read_bytes()
        # torch's own format does not notice a flipped bit, which would then spoil every later study.
        if hashlib.sha256(stored[_DIGEST:]).digest() == stored[:_DIGEST]:
            return torch.load(io.BytesIO(stored[_DIGEST:]), weights_only=True)
        logger.warning("%s is damaged and is computed again", path)
    except OSError:
        pass  # missing or unreadable: compute it
    content = compute()
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getvalue()
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(hashlib.sha256(payload).digest() + payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        logger.warning("%s cannot be written (%s), so it is computed again next time", path, error.strerror)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return content


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread, so that sums have the same order on any number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(data: ImageData, spec: ClassifierSpec) -> dict[str, Any]:
    """Trains with cross-entropy, AdamW and a one-cycle learning rate, always on the CPU."""
    train, validation = data.train.to("cpu"), data.validation.to("cpu")
    with one_thread(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(spec.seed)
        classifier = Classifier(spec, data.summary)
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
    digest = hashlib.blake2b(digest_size=12)
    for name, value in state.items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return {"state": state, "hash": digest.hexdigest(), "accuracy": accuracy}


@torch.no_grad()
def _accuracy(classifier: Classifier, split: Split) -> float:
    right = sum(
        int((classifier(as_float(images)).argmax(1) == labels).sum())
        for images, labels in zip(split.images.split(_BATCH), split.labels.split(_BATCH), strict=True)
    )
    return right / len(split)


def as_float(images: Tensor) -> Tensor:
    """uint8 images as float in [0, 1]."""
    return images.float().div_(255)


def images_per_batch(images: Tensor) -> int:
    """A batch size that keeps activations small: with 1,024 MNIST images convolutions took 1.2 to 1.4 times as long."""
    return max(64, min(256, 1_000_000 // images[0].numel()))
