"""Tests candidates for the score of samples like instruments: does it see what it should, and nothing else?

    python -m benchmarks.instrument --data-dir ../shared/data

For each candidate of `benchmarks.feature_networks` and each data set, the benchmark prints:

- the ladders of `benchmarks.controls` whose order it keeps (Kendall's tau at least .9), those used to choose and those
  held out;
- the scores of real training images at 75 % contrast, shifted by a pixel, and of 50 of them repeated, as shares of the
  best model's;
- how many models with samples that are visibly broken (RAE-L2 from N(0, I)) it puts before a VAE or WAE-MMD of their
  latent size; on MNIST, Kendall's tau with the order of the RAE paper at 16 units (1903.12436, table 1);
- its rank agreement over the models with the classifier of version 0.1;
- the standard deviation of the log score between seeds of the network, less what is common to all models; and the
  seconds it takes to train (none if it was in the cache).

The models are AE, VAE, WAE-MMD, RAE-L2, WAE-GAN and others at the data set's defaults (fewer epochs on large sets).
`flowers` are the photographs in that folder of `--data-dir`, 32 pixels wide. All of it takes hours on one core.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import scipy.stats
import torch
import typer
from torch import Tensor

from benchmarks import data_sets
from benchmarks.controls import Ladder, ladders
from benchmarks.feature_networks import CANDIDATES, UNSEEDED, Score, build
from benchmarks.options import CacheOption, DataOption
from benchmarks.rows import Row
from study.cli import run_command
from study.config import TrialConfig, UserError
from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.measure.comparison import FeatureSet
from study.measure.features import measuring
from study.measure.instrument import Features
from study.training.loop import Trainer

EPOCHS = {"digits": 60, "mnist": 4, "fashion_mnist": 4, "cifar10": 3, "flowers": 40}
SAMPLES = {"digits": 3_000}
MOST_IMAGES = 2_500
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
PUBLISHED = (Model("VAE", 16, 0.003), Model("WAE-MMD", 16, 0.3), Model("RAE-L2", 16, 0.01), Model("AE", 16, 0.0))
"""The RAE paper's order on MNIST, in Inception's features."""
GOOD = (("VAE", 0.003), ("WAE-MMD", 0.3))
"""Method and weight that no one takes for worse than RAE-L2's samples from N(0, I)."""


def samples_of(data: ImageData, model: Model, count: int) -> Tensor:
    """Images decoded from N(0, I), float [count, C, H, W] with 256 levels."""
    params = {**data.summary.defaults, "dataset": data.name, "latent_dim": model.latent_dim, **PARAMS[model.method]}
    weight = model.weight * data.summary.total_variance
    epochs = EPOCHS[data.name]
    trainer = Trainer(TrialConfig.from_params({**params, "weight": weight, "epochs": epochs}), data)
    for _ in range(epochs):
        trainer.train_epoch()
    codes = torch.randn(count, model.latent_dim, generator=torch.Generator().manual_seed(5))
    with measuring(trainer.model):
        images = torch.cat([trainer.model.decode(part) for part in codes.split(256)])
    return (images.clamp(0, 1) * 255).round() / 255


class Instrument:
    """A network's features, scaled as a study scales them, and those of validation images.

    Args:
        data: The data set.
        features: The network.
        most_images: The most real images that are used.
    """

    def __init__(self, data: ImageData, features: Features, most_images: int = MOST_IMAGES) -> None:
        self._features = features
        self._scale = 1.0
        training = self.feature_set(as_float(data.train.images[:most_images])).features
        self._scale = 1 / math.sqrt(training.var(0).mean())
        self.real = self.feature_set(as_float(data.validation.images[:most_images]))

    @torch.no_grad()
    def feature_set(self, images: Tensor) -> FeatureSet:
        """The scaled features of images in [0, 1]."""
        found = torch.cat([self._features(part) for part in images.split(256)])
        return FeatureSet(found.double().numpy() * self._scale)


class Scores(NamedTuple):
    """What one candidate with one seed says.

    Attributes:
        models: Score of each model's samples, in the order of `MODELS`.
        ladders: Scores of the steps of each ladder, by its name.
    """

    models: list[float]
    ladders: dict[str, list[float]]


def scores(
    instrument: Instrument, candidates: Sequence[Score], samples: Sequence[Tensor], steps: Sequence[Ladder]
) -> list[Scores]:
    """What each score says in the features of one network."""
    real, of_models = instrument.real, [instrument.feature_set(images) for images in samples]
    of_ladders = {ladder.name: [instrument.feature_set(images) for images in ladder.steps] for ladder in steps}
    return [
        Scores(
            [score(real, generated) for generated in of_models],
            {name: [score(real, changed) for changed in sets] for name, sets in of_ladders.items()},
        )
        for score in candidates
    ]


def kept(found: Sequence[Ladder], scores: dict[str, list[float]], held_out: bool) -> float:
    """Share of the ladders whose order the scores keep."""
    taus = [
        _statistic(scipy.stats.kendalltau(range(len(ladder.steps)), scores[ladder.name]))
        for ladder in found
        if ladder.held_out == held_out
    ]
    return float(np.mean([tau >= LEAST_TAU for tau in taus]))


def measure(data: ImageData, cache: Path, seeds: int, named: Collection[str] = CANDIDATES) -> Iterator[Row]:
    """The rows of one data set, candidate by candidate: those that are named, and the first for comparison."""
    wanted = {name: found for name, found in CANDIDATES.items() if name in named or name == next(iter(CANDIDATES))}
    count = SAMPLES.get(data.name, MOST_IMAGES)
    steps = ladders(data, count)
    samples = [samples_of(data, model, count) for model in MODELS]
    reference: Any = None
    for network, group in itertools.groupby(wanted.items(), lambda item: item[1].network):
        names, candidates = zip(*group, strict=True)
        numbers = range(1 if network in UNSEEDED else seeds)
        begun = time.perf_counter()
        try:
            instruments = [Instrument(data, build(network, data, seed, cache)) for seed in numbers]
        except UserError as error:
            print(f"{data.name}, {network} is left out: {error}")
            continue
        took = (time.perf_counter() - begun) / len(numbers)
        by_seed = [scores(one, [c.score for c in candidates], samples, steps) for one in instruments]
        for index, name in enumerate(names):
            found = [of[index] for of in by_seed]
            label = f"{data.name}, {name}"
            logs = np.log([one.models for one in found])
            mean = np.exp(logs.mean(0))  # of the networks of all seeds, as one instrument
            reference = mean if reference is None else reference
            yield from _rows(label, data, steps, mean, _mean_ladders(found), reference)
            if len(found) > 1:
                spread = float((logs - logs.mean(1, keepdims=True)).std(0, ddof=1).mean())
                yield Row(f"{label}: sd of log score, seeds", spread, MOST_SPREAD.get(data.name), True)
            yield Row(f"{label}: training, s", took)


def _rows(
    label: str,
    data: ImageData,
    found: Sequence[Ladder],
    models: np.ndarray,
    by_step: dict[str, list[float]],
    reference: np.ndarray,
) -> Iterator[Row]:
    by_model = dict(zip(MODELS, models.tolist(), strict=True))
    yield from (
        Row(f"{label}: ladders kept", kept(found, by_step, held_out=False), 1.0),
        Row(f"{label}: held-out ladders kept", kept(found, by_step, held_out=True), 1.0),
        Row(f"{label}: 75 % contrast / best model", by_step["contrast"][2] / models.min(), MOST_CONTRAST, True),
        Row(f"{label}: shift by a pixel / best model", by_step["shift"][1] / models.min(), 1.0, True),
        Row(f"{label}: 50 images / best model", by_step["repeated"][-1] / models.min()),
        Row(f"{label}: RAE-L2 before VAE or WAE", misplaced(by_model), 0, True),
        Row(f"{label}: rank agreement with 0.1's", _statistic(scipy.stats.spearmanr(reference, models))),
    )
    if data.name == "mnist":
        tau = _statistic(scipy.stats.kendalltau(range(len(PUBLISHED)), [by_model[model] for model in PUBLISHED]))
        yield Row(f"{label}: tau with the RAE paper's order", tau)


def _mean_ladders(found: Sequence[Scores]) -> dict[str, list[float]]:
    """The geometric mean over seeds."""
    return {
        name: np.exp(np.log(np.maximum([one.ladders[name] for one in found], 1e-12)).mean(0)).tolist()
        for name in found[0].ladders
    }


def _statistic(result: Any) -> float:  # SciPy does not say what its functions return
    return float(result.statistic)


def misplaced(scores: dict[Model, float]) -> int:
    """Pairs of an RAE-L2 and a good model of its size in the wrong order."""
    return sum(
        scores[Model("RAE-L2", size, 0.01)] < scores[Model(method, size, weight)]
        for size in (8, 16)
        for method, weight in GOOD
    )


def main(
    dataset: Annotated[list[str] | None, typer.Option(help="Only this data set; repeat it for several.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Networks of each candidate.")] = 5,
    candidate: Annotated[
        list[str] | None, typer.Option(help="This one alone, beside the first; repeat it for several.")
    ] = None,
    data_dir: DataOption = Path("data"),
    cache: CacheOption = Path("runs/cache"),
) -> int:
    """Prints the rows of every available data set."""
    if unknown := set(candidate or ()) - CANDIDATES.keys():
        raise UserError(f"--candidate {min(unknown)}: choose from {', '.join(CANDIDATES)}")
    rows = functools.partial(measure, seeds=seeds, named=candidate or CANDIDATES)
    return data_sets.run(dataset or EPOCHS, rows, data_dir, cache)


if __name__ == "__main__":
    run_command(main)
