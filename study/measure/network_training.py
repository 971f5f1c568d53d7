"""Trains feature networks: what they learn to tell apart, and from which images.

A network is trained on the training split only, with its own random numbers and on one CPU thread, so the same data
give the same weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.measure.cache import content_hash
from study.measure.distortions import WHOLE, broken, with_nuisances
from study.measure.features import Architecture, Classifier, one_thread
from study.model.adam import Adam, set_one_cycle

BATCH = 128
_DISTORTED = 8 * BATCH
"""Images distorted at once: on tiny images the distortions cost more than the training."""
_STRUCTURE_SHARE = 0.5
_PROJECTION = 32


@dataclass(frozen=True)
class Task:
    """What a network is trained to do; the losses are added.

    Attributes:
        classes: Tell the classes apart, in images that are whole.
        contrast: Tell images apart, whatever the nuisances (SimCLR, arXiv 2002.05709). It needs no classes.
        structure: Tell whole images from patched and blended ones.
        nuisances: Train on images with nuisances.
    """

    classes: bool = False
    contrast: bool = False
    structure: bool = False
    nuisances: bool = False


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that decides the weights except the data. Raise `version` when the training changes.

    Attributes:
        task: What each network is trained to do.
        architecture: Their shape.
        seeds: Of initialisation and batches, one per network.
        images: Training images that each network sees.
        learning_rate: Peak of the one-cycle schedule.
        version: Version of the training procedure.
    """

    task: Task
    architecture: Architecture
    seeds: tuple[int, ...]
    images: int
    learning_rate: float
    version: int = 1


def train_networks(data: ImageData, spec: NetworkSpec) -> dict[str, Any]:
    """Trains the networks of a spec, which takes seconds to minutes.

    Returns:
        `states`, the weights of each network; `hash`, of them all; `accuracy`, the share of the validation images that
        they classify correctly on average, None without classes.
    """
    data = data.to("cpu")
    with one_thread(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        networks = [_train(data, spec, seed) for seed in spec.seeds]
    states = [{name: value.detach().clone() for name, value in n.state_dict().items()} for n in networks]
    accuracy = float(np.mean([_accuracy(network, data) for network in networks])) if spec.task.classes else None
    joined = {f"{index}.{name}": value for index, state in enumerate(states) for name, value in state.items()}
    return {"states": states, "hash": content_hash(joined), "accuracy": accuracy}


def _train(data: ImageData, spec: NetworkSpec, seed: int) -> Classifier:
    """Trains with AdamW and a one-cycle learning rate, on the training split alone."""
    torch.manual_seed(seed)
    task, features = spec.task, spec.architecture.features
    network = Classifier(spec.architecture, data.summary)
    structure, projection = nn.Linear(features, 3), nn.Linear(features, _PROJECTION)
    generator = torch.Generator().manual_seed(seed)
    steps = math.ceil(spec.images / BATCH)
    parameters = [*network.parameters(), *structure.parameters(), *projection.parameters()]
    optimizer = Adam(parameters, spec.learning_rate, weight_decay=0.01)
    for step, batch in enumerate(itertools.islice(_batches(data, task, generator), steps)):
        optimizer.zero_grad()
        _loss(task, network, structure, projection, batch).backward()
        set_one_cycle(optimizer, step, steps, spec.learning_rate)
        optimizer.step()
    return network.eval()


class _Batch(NamedTuple):
    """Images that a network learns from.

    Attributes:
        images: Float [B, C, H, W], some of them broken.
        kind: What each of them is: whole, patched or blended, [B].
        labels: Their classes, [B].
        views: Two versions of the images before they were broken, each with its own nuisances; none without contrast.
    """

    images: Tensor
    kind: Tensor
    labels: Tensor
    views: tuple[Tensor, ...]


def _batches(data: ImageData, task: Task, generator: torch.Generator) -> Iterator[_Batch]:
    """Endless batches of random training images."""

    def seen(x: Tensor) -> Tensor:
        return with_nuisances(x, generator) if task.nuisances else x

    while True:
        rows = torch.randint(len(data.train), (_DISTORTED,), generator=generator)
        x, labels = as_float(data.train.images[rows]), data.train.labels[rows]
        shown, kind = broken(x, generator) if task.structure else (x, torch.full((len(x),), WHOLE))
        views = tuple(seen(x).split(BATCH) for _ in range(2)) if task.contrast else ()
        parts = zip(seen(shown).split(BATCH), kind.split(BATCH), labels.split(BATCH), strict=True)
        for index, (images, kinds, classes) in enumerate(parts):
            yield _Batch(images, kinds, classes, tuple(view[index] for view in views))


def _loss(task: Task, network: Classifier, structure: nn.Module, projection: nn.Module, batch: _Batch) -> Tensor:
    loss = torch.zeros(())
    if task.classes or task.structure:
        found = network.features(batch.images)
        if task.classes:
            whole = batch.kind == WHOLE
            loss = loss + F.cross_entropy(network.head(found[whole]), batch.labels[whole])
        if task.structure:
            loss = loss + _STRUCTURE_SHARE * F.cross_entropy(structure(found), batch.kind)
    if task.contrast:
        first, second = (projection(network.features(view)) for view in batch.views)
        loss = loss + contrastive_loss(first, second)
    return loss


def contrastive_loss(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    """NT-Xent (arXiv 2002.05709, eq. 1): each view must find the other view of its image among all views of the batch.

    Args:
        first: One view of each image, [B, d].
        second: The other views, [B, d].
        temperature: Of the softmax over cosines.
    """
    views = F.normalize(torch.cat([first, second]), dim=1)
    similarity = (views @ views.T / temperature).fill_diagonal_(-math.inf)
    count = len(first)
    return F.cross_entropy(similarity, torch.arange(2 * count).roll(count))


@torch.no_grad()
def _accuracy(network: Classifier, data: ImageData) -> float:
    """Share of the validation images that a network classifies correctly."""
    right = sum(
        int((network.head(network.features(as_float(images))).argmax(1) == labels).sum())
        for images, labels in zip(data.validation.images.split(BATCH), data.validation.labels.split(BATCH), strict=True)
    )
    return right / len(data.validation)
