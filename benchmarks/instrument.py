"""Tests candidates for the feature network like instruments: does their score see what it should, and nothing else?

    python -m benchmarks.instrument --data-dir ../shared/data

The score is the Fréchet distance in a network's features. For each candidate of `benchmarks.feature_networks` and each
data set, the benchmark prints:

- the ladders of `benchmarks.controls` whose order it keeps (Kendall's tau at least .9), those used to choose and those
  held out;
- the score of real training images at 75 % contrast, and shifted by a pixel, as shares of the best model's;
- how many models with samples that are visibly broken (RAE-L2 from N(0, I)) it puts before a VAE or WAE-MMD of their
  latent size;
- the standard deviation of the log score between seeds of the network, less what is common to all models;
- its rank agreement over the models with the classifier of version 0.1, and the seconds it takes to train (none if it
  was in the cache).

The models are AE, VAE, WAE-MMD, RAE-L2, WAE-GAN and others at the data set's defaults (fewer epochs on large sets).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from benchmarks import data_sets
from benchmarks.controls import Ladder, ladders
from benchmarks.feature_networks import CANDIDATES, build
from benchmarks.options import CacheOption, DataOption
from benchmarks.rows import Row
from study.cli import run_command
from study.config import TrialConfig
from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.measure.comparison import FeatureSet
from study.measure.features import measuring
from study.measure.instrument import Features
from study.training.loop import Trainer

SEEDS = 3
SAMPLES = {"digits": 3_000}
EPOCHS = {"digits": 60, "mnist": 4, "fashion_mnist": 4}
MOST_SAMPLES = 5_000
LEAST_TAU = 0.9
MOST_CONTRAST = 0.2
MOST_SPREAD = {"digits": 0.03, "mnist": 0.02}


class Model(NamedTuple):
    """What is trained: method, latent size and weight in multiples of the data's total variance."""

    method: str
    latent_dim: int
    weight: float


PARAMS: dict[str, dict[str, str]] = {
    "AE": {"encoder": "deterministic", "regularizer": "none"},
    "VAE": {"encoder": "gaussian", "regularizer": "kl"},
    "WAE-MMD": {"encoder": "deterministic", "regularizer": "mmd", "kernel": "imq"},
    "RAE-L2": {"encoder": "deterministic", "regularizer": "rae_l2"},
    "WAE-GAN": {"encoder": "deterministic", "regularizer": "adversarial"},
    "SWAE": {"encoder": "deterministic", "regularizer": "sliced_wasserstein"},
    "InfoVAE": {"encoder": "gaussian", "regularizer": "info_vae", "kernel": "imq"},
}
MODELS = [
    *(Model("AE", size, 0.0) for size in (4, 8, 16)),
    *(Model("VAE", size, weight) for size in (8, 16) for weight in (0.001, 0.003, 0.01, 0.03)),
    *(Model("WAE-MMD", size, weight) for size in (8, 16) for weight in (0.03, 0.3, 3.0)),
    *(Model("RAE-L2", size, 0.01) for size in (8, 16)),
    *(Model("WAE-GAN", size, 0.3) for size in (8, 16)),
    Model("SWAE", 8, 0.3),
    Model("InfoVAE", 8, 0.003),
]
GOOD = (("VAE", 0.003), ("WAE-MMD", 0.3))
"""Method and weight that no one takes for worse than RAE-L2's samples from N(0, I)."""


def samples_of(data: ImageData, model: Model, count: int) -> Tensor:
    """Images decoded from N(0, I), float [count, C, H, W] with 256 levels."""
    params = {**data.summary.defaults, "dataset": data.name, "latent_dim": model.latent_dim, **PARAMS[model.method]}
    weight = model.weight * data.summary.total_variance
    epochs = EPOCHS.get(data.name, 2)
    trainer = Trainer(TrialConfig.from_params({**params, "weight": weight, "epochs": epochs}), data)
    for _ in range(epochs):
        trainer.train_epoch()
    codes = torch.randn(count, model.latent_dim, generator=torch.Generator().manual_seed(5))
    with measuring(trainer.model):
        images = torch.cat([trainer.model.decode(part) for part in codes.split(256)])
    return (images.clamp(0, 1) * 255).round() / 255


class Instrument:
    """A trained network's score of images: their Fréchet distance to validation images in its features."""

    def __init__(self, data: ImageData, features: Features) -> None:
        self._features = features
        self._scale = 1.0
        training = self.feature_set(as_float(data.train.images[:MOST_SAMPLES])).features
        self._scale = 1 / math.sqrt(training.var(0).mean())
        self.real = self.feature_set(as_float(data.validation.images[:MOST_SAMPLES]))

    def __call__(self, images: Tensor) -> float:
        return self.real.fid(self.feature_set(images))

    def feature_set(self, images: Tensor) -> FeatureSet:
        """The scaled features of images in [0, 1]."""
        return FeatureSet(
            torch.cat([self._features(part) for part in images.split(512)]).double().numpy() * self._scale
        )


def kept(found: Sequence[Ladder], scores: dict[str, list[float]], held_out: bool) -> float:
    """Share of the ladders whose order the scores keep."""
    taus = [
        _statistic(scipy.stats.kendalltau(range(len(ladder.steps)), scores[ladder.name]))
        for ladder in found
        if ladder.held_out == held_out
    ]
    return float(np.mean([tau >= LEAST_TAU for tau in taus]))


def measure(data: ImageData, cache: Path) -> list[Row]:
    """The rows of one data set."""
    steps = ladders(data)
    count = SAMPLES.get(data.name, MOST_SAMPLES)
    samples = {model: samples_of(data, model, count) for model in MODELS}
    rows: list[Row] = []
    reference: np.ndarray | None = None
    for name in CANDIDATES:
        begun = time.perf_counter()
        instruments = [Instrument(data, build(name, data, seed, cache)) for seed in range(SEEDS)]
        took = (time.perf_counter() - begun) / SEEDS
        scores = np.array([[instrument(images) for images in samples.values()] for instrument in instruments])
        logs = np.log(scores)
        spread = float((logs - logs.mean(1, keepdims=True)).std(0, ddof=1).mean())
        mean = np.exp(logs.mean(0))  # of the networks of all seeds, as one instrument
        by_model = dict(zip(samples, mean.tolist(), strict=True))
        by_step = {ladder.name: _mean_scores(instruments, ladder) for ladder in steps}
        reference = mean if reference is None else reference
        agreement = _statistic(scipy.stats.spearmanr(reference, mean))
        label = f"{data.name}, {name}"
        rows += [
            Row(f"{label}: ladders kept", kept(steps, by_step, held_out=False), 1.0),
            Row(f"{label}: held-out ladders kept", kept(steps, by_step, held_out=True), 1.0),
            Row(f"{label}: 75 % contrast / best model", by_step["contrast"][2] / mean.min(), MOST_CONTRAST, True),
            Row(f"{label}: shift by a pixel / best model", by_step["shift"][1] / mean.min(), 1.0, True),
            Row(f"{label}: RAE-L2 before VAE or WAE", _misplaced(by_model), 0, True),
            Row(f"{label}: sd of log score, seeds", spread, MOST_SPREAD.get(data.name), True),
            Row(f"{label}: rank agreement with 0.1's", agreement),
            Row(f"{label}: training, s", took),
        ]
    return rows


def _mean_scores(instruments: Sequence[Instrument], ladder: Ladder) -> list[float]:
    logs = [np.mean([math.log(max(score(images), 1e-12)) for score in instruments]) for images in ladder.steps]
    return [math.exp(value) for value in logs]


def _statistic(result: Any) -> float:  # SciPy does not say what its functions return
    return float(result.statistic)


def _misplaced(scores: dict[Model, float]) -> int:
    """Pairs of an RAE-L2 and a good model of its size in the wrong order."""
    return sum(
        scores[Model("RAE-L2", size, 0.01)] < scores[Model(method, size, weight)]
        for size in (8, 16)
        for method, weight in GOOD
    )


def main(data_dir: DataOption = Path("data"), cache: CacheOption = Path("runs/cache")) -> int:
    """Prints the rows of every available data set."""
    return data_sets.run(("digits", "mnist", "fashion_mnist"), measure, data_dir, cache)


if __name__ == "__main__":
    run_command(main)
