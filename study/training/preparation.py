"""Estimates how long that takes which a study trains once, before its trials, from a few steps of each part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.measure.context import MAX_IMAGES
from study.measure.features import Classifier, one_thread
from study.measure.instrument import networks_path, untrained, usual_specs
from study.measure.network_training import NetworkSpec, train_networks
from study.measure.perceptual import classifier_path, perceptual_spec
from study.model import stacked
from study.model.adam import Adam
from study.training.pretrain import first_stage_path
from study.training.stopwatch import Stopwatch

FEATURE_NETWORKS, PERCEPTUAL, FIRST_STAGE = "feature networks", "perceptual network", "first stage"
_SECONDS = 0.3
_NETWORK_IMAGES = 1_024
_EXAMINED = 25_000
"""Images that an instrument's examination sends through it."""
_BATCH = 128


def preparation_seconds(
    data: ImageData, network: str | None, cache: Path, *, perceptual: bool, first_stage: bool
) -> dict[str, float]:
    """Seconds on one thread of each part that is needed, by its name; 0 if it is in the cache.

    Args:
        data: The data set, or the first images of its splits; its summary counts all of them.
        network: As of `study.measure.instrument`.
        cache: The folder of what studies share.
        perceptual: Whether a trial needs the network of the perceptual loss.
        first_stage: Whether a trial needs the first stage.
    """
    summary, images = data.summary, data.train.images[:_BATCH]
    missing = [
        spec
        for spec in usual_specs(network, summary)
        if spec is not None and not networks_path(spec, summary, cache).is_file()
    ]
    watch = Stopwatch(by_processor=True)
    with one_thread(), torch.random.fork_rng(devices=[]):
        found = {FEATURE_NETWORKS: sum((_network_seconds(data, spec, watch) for spec in missing), 0.0)}
        if perceptual:
            spec, steps = perceptual_spec(summary), 0.0
            if not classifier_path(spec, summary, cache).is_file():
                classifier = Classifier(spec.architecture, summary)
                labels = torch.zeros(len(images), dtype=torch.int64)
                each = _step_seconds(classifier, lambda: F.cross_entropy(classifier(as_float(images)), labels), watch)
                steps = each * spec.epochs * summary.train_size / len(images)
            found[PERCEPTUAL] = steps
        if first_stage:
            steps = 0.0
            if not first_stage_path(summary, cache).is_file():
                stage, x = stacked.FirstStage(summary).requires_grad_(True), as_float(images)
                each = _step_seconds(stage, lambda: F.mse_loss(stage.decoder(stage.encoder(x)), x), watch)
                batch = min(stacked.BATCH_SIZE, summary.train_size)
                steps = each * max(stacked.LEAST_STEPS, stacked.EPOCHS * summary.train_size // batch)
            found[FIRST_STAGE] = steps
    return {name: watch.slowdown * seconds for name, seconds in found.items()}


def _network_seconds(data: ImageData, spec: NetworkSpec, watch: Stopwatch) -> float:
    """Seconds to train the networks of a spec, and to send the real images through them."""

    def training(images: int) -> float:
        few = dataclasses.replace(spec, images=images, seeds=spec.seeds[:1])
        return watch(lambda: train_networks(data, few))

    training(1)  # it also pays for what happens once in a process
    around = training(0)  # the images that it classifies at its end
    seen = min(_NETWORK_IMAGES, spec.images)
    spent = training(seen) - around
    if spent < _SECONDS and 4 * seen <= spec.images:
        seen *= 4
        spent = training(seen) - around
    batch = as_float(data.train.images[:_BATCH])
    features = untrained(spec, data.summary).build(data.summary)
    with torch.no_grad():
        features(batch)
        each = watch(lambda: features(batch)) / len(batch)
    summary = data.summary
    measured = 2 * summary.train_size + min(MAX_IMAGES, summary.validation_size) + min(MAX_IMAGES, summary.test_size)
    return (around + max(0.0, spent) / seen * spec.images) * len(spec.seeds) + each * (measured + _EXAMINED)


def _step_seconds(model: nn.Module, loss: Callable[[], Tensor], watch: Stopwatch) -> float:
    optimizer, times = Adam(model.parameters(), 1e-3), []

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    while len(times) < 2 or sum(times) < _SECONDS:
        times.append(watch(step))
    return sum(times[1:]) / len(times[1:])
