"""A small network whose last hidden layer is a feature vector, for images of any size."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from study.config import DataSummary

_SMALL = 256


@dataclass(frozen=True)
class Architecture:
    """The shape of a `Classifier`.

    Attributes:
        kind: `perceptron` or `convolutions`.
        channels: Units of the hidden layers, or channels of the convolutions, each of which halves the image.
        kernel: Side of the first convolution.
        features: Size of the feature vector.
    """

    kind: str
    channels: tuple[int, ...]
    kernel: int
    features: int


def is_tiny(summary: DataSummary) -> bool:
    """Whether images have so few numbers that convolutions gain nothing on them: 256, as 8x8 digits."""
    return math.prod(summary.shape) <= _SMALL


def halving_widths(first: int, summary: DataSummary) -> tuple[int, ...]:
    """Channels that double while the image halves, until its longer side is 8 or less; at least two convolutions."""
    halvings = max(2, math.ceil(math.log2(max(summary.height, summary.width) / 8)))
    return tuple(min(64, first * 2**level) for level in range(halvings))


class Classifier(nn.Module):
    """A small network with a feature vector before its last layer.

    Args:
        spec: Its architecture.
        summary: The data's shape and number of classes.
    """

    def __init__(self, spec: Architecture, summary: DataSummary) -> None:
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
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(size, spec.features))
        self.head = nn.Linear(spec.features, summary.num_classes)

    def intermediate(self, x: Tensor) -> list[Tensor]:
        """The activations of every stage for images [B, C, H, W] in [0, 1], then the features'."""
        activations = []
        for stage in self.stages:
            x = stage(x)
            activations.append(x)
        return [*activations, self.embedding(x).relu()]

    def features(self, x: Tensor) -> Tensor:
        """The feature vectors of images [B, C, H, W] in [0, 1], before their activation: [B, features]."""
        for stage in self.stages:
            x = stage(x)
        return self.embedding(x)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits [B, classes]."""
        return self.head(self.features(x).relu())


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread, so that sums have the same order on any number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def images_per_batch(images: Tensor) -> int:
    """A batch size that keeps activations small: with 1,024 MNIST images convolutions took 1.2 to 1.4 times as long."""
    return max(64, min(256, 1_000_000 // images[0].numel()))


@contextlib.contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients. Every module gets its own mode back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
