"""Whether fronts trained in bf16 can be told apart from fronts trained in float32: the evidence for the default.

    python -m benchmarks.precision

An AE, VAEs and WAE-MMDs of several weights are trained on digits in both precisions, each with several seeds, with
perceptrons and with convolutions. Both objectives are compared by Welch's t-test on their logarithms, and so is the
hypervolume that each seed's front of a network has. Holm's correction covers the whole table. A row is `short` where
bf16 can be told apart. Not being told apart is no proof of equality, so each ratio has its 95 % interval.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from scipy import stats

from analysis.replicates import holm
from benchmarks.options import CacheOption
from benchmarks.rows import Row, print_rows
from study.cli import run_command
from study.config import DataSummary, TrialConfig
from study.data.datasets import load_dataset
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator
from study.ranges import CHOICES
from study.results.pareto import hypervolume
from study.training.loop import Trainer
from study.weights import first_weight

LEVEL = 0.05
OBJECTIVES = ("reconstruction_mse", "sample_fid")
REFERENCE = np.log([0.1, 1_000.0])
"""Of the hypervolume of log objectives: worse than any of these trials."""
NETWORKS = {"mlp": {"network": "mlp", "width": 128}, "conv": {"network": "conv", "width": 16}}
FACTORS = (0.3, 3.0)
"""Weights of a method, in multiples of its `first_weight`."""
Samples = dict[str, tuple[np.ndarray, np.ndarray]]
"""What is compared -> its value of each seed in float32 and in bf16, as logarithms."""


class Compared(NamedTuple):
    """bf16 against float32.

    Attributes:
        name: What is compared.
        ratio: Of the geometric means, bf16 over float32.
        low: Lower end of the ratio's 95 % interval.
        high: Its upper end.
        p: Holm-adjusted over all that is compared.
    """

    name: str
    ratio: float
    low: float
    high: float
    p: float


def configurations(data: DataSummary) -> dict[str, dict[str, str | float]]:
    """Parameters of the models of a front, by label."""
    found: dict[str, dict[str, str | float]] = {"AE": {}}
    methods = {"VAE": ("gaussian", "kl", "none"), "WAE-MMD": ("deterministic", "mmd", "imq")}
    for method, (encoder, regularizer, kernel) in methods.items():
        for factor in FACTORS:
            weight = factor * first_weight(data, regularizer)
            named = {"encoder": encoder, "regularizer": regularizer, "kernel": kernel, "weight": weight}
            found[f"{method} {factor:g}"] = named
    return found


def trained(config: TrialConfig, evaluator: Evaluator) -> list[float]:
    """Logarithms of a trained model's objectives on the validation split."""
    trainer = Trainer(config, evaluator.data)
    for _ in range(config.epochs):
        trainer.train_epoch()
    metrics = evaluator.search_metrics(trainer.model)
    return [math.log(metrics[name]) for name in OBJECTIVES]


def samples_of(network: str, cache: Path, seeds: int, epochs: int) -> Samples:
    """Trains every configuration of a network, on one thread."""
    torch.set_num_threads(1)
    data = load_dataset("digits", Path())
    evaluator, summary = Evaluator(data, prepare_context(data, cache)), data.summary
    found = np.empty((2, len(configurations(summary)), seeds, len(OBJECTIVES)))
    for seed in range(seeds):
        for row, params in enumerate(configurations(summary).values()):
            for side, precision in enumerate(CHOICES["precision"]):
                given = {**summary.defaults, **NETWORKS[network], **params, "epochs": epochs, "seed": seed}
                config = TrialConfig.from_params({**given, "precision": precision})
                found[side, row, seed] = trained(config, evaluator)
    return {
        **{
            f"{network} {label}: {objective}": (found[0, row, :, column], found[1, row, :, column])
            for row, label in enumerate(configurations(summary))
            for column, objective in enumerate(OBJECTIVES)
        },
        f"{network}: front's hypervolume": (front_sizes(found[0]), front_sizes(found[1])),
    }


def front_sizes(values: np.ndarray) -> np.ndarray:
    """Log hypervolume of each seed's front, from log objectives [configurations, seeds, objectives]: [seeds]."""
    return np.log([hypervolume(values[:, seed], REFERENCE) for seed in range(values.shape[1])])


def compared(samples: Samples) -> list[Compared]:
    """Welch's t-test of each pair of samples, with Holm's correction over all of them."""
    tests: list[Any] = [stats.ttest_ind(low, exact, equal_var=False) for exact, low in samples.values()]
    adjusted = holm(np.array([test.pvalue for test in tests]))
    rows = []
    for (name, (exact, low)), test, p in zip(samples.items(), tests, adjusted, strict=True):
        interval = test.confidence_interval(1 - LEVEL)
        ratio, *ends = map(math.exp, (low.mean() - exact.mean(), interval.low, interval.high))
        rows.append(Compared(name, ratio, ends[0], ends[1], float(p)))
    return rows


def rows_of(found: Sequence[Compared]) -> Iterator[Row]:
    """The table as rows."""
    for name, ratio, low, high, p in found:
        yield Row(f"{name}, bf16 over float32", ratio)
        yield Row(f"{name}, interval from", low)
        yield Row(f"{name}, interval to", high)
        yield Row(f"{name}, Holm's p", p, LEVEL)


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Seeds of each configuration.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 30,
    cache: CacheOption = Path("runs/cache"),
) -> int:
    """Prints the rows of both networks."""
    prepare_context(load_dataset("digits", Path()), cache)  # into the cache, once
    samples: Samples = {}
    with ProcessPoolExecutor(len(NETWORKS), mp_context=multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(samples_of, NETWORKS, *map(repeat, (cache, seeds, epochs))):
            samples |= found
    return print_rows(rows_of(compared(samples)))


if __name__ == "__main__":
    run_command(main)
