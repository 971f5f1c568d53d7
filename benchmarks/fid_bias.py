"""Measures how the Fréchet distance depends on the number of images, and whether the default numbers are enough.

    python -m benchmarks.fid_bias --data-dir ../shared/data

With n generated images, the expected distance is that with infinitely many plus about c/n. Since c depends on the model
(Chong & Forsyth, arXiv 1911.07023), too small an n can reverse the order of two models. For an AE, a VAE, a WAE and
training images, the benchmark prints the distance to the whole validation split with N, 2N and 4N images, each the mean
over disjoint sets. N is half the default count, or less for training images of the digits, which are few.

`bias` is the share of the value at the default count that vanishes for large n, extrapolated from 2N and 4N. `noise` is
the relative standard deviation between sets of the default count; it does not affect comparisons within a study, whose
trials all use the same z. The number of real images is limited by the split; the distance to halves of the split shows
its effect. The last row says whether the models keep their order at all these counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import data_sets
from benchmarks.options import CacheOption, DataOption
from benchmarks.rows import Row
from study.cli import run_command
from study.config import TrialConfig
from study.data.datasets import ImageData
from study.data.splits import stratified_order
from study.measure.comparison import fid
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator
from study.measure.features import measuring
from study.model.autoencoder import Autoencoder
from study.training.loop import Trainer

SETS = 4
"""Number of disjoint sets of the largest count; there are twice as many sets of half that count, and so on."""
MOST_BIAS = 0.05
EPOCHS = {"digits": 60, "mnist": 2}
MODELS: dict[str, dict[str, str | float]] = {
    "AE": {"encoder": "deterministic", "regularizer": "none"},
    "VAE": {"encoder": "gaussian", "regularizer": "kl", "weight": 0.01},
    "WAE": {"encoder": "deterministic", "regularizer": "mmd", "kernel": "imq", "weight": 0.3},
}
"""Weights are in multiples of the data's total variance."""


def trained(data: ImageData, params: dict[str, str | float]) -> Autoencoder:
    """A model at the data set's defaults, trained for `EPOCHS`."""
    weight = float(params.get("weight", 0.0)) * data.summary.total_variance
    defaults = {**data.summary.defaults, "dataset": data.name, "latent_dim": 8, "epochs": EPOCHS[data.name]}
    trainer = Trainer(TrialConfig.from_params({**defaults, **params, "weight": weight}), data)
    for _ in range(EPOCHS[data.name]):
        trainer.train_epoch()
    return trainer.model


def sample_features(evaluator: Evaluator, model: Autoencoder, count: int) -> np.ndarray:
    """Features of fresh samples from N(0, I), [count, d]."""
    generator = torch.Generator().manual_seed(1)
    with measuring(model):
        codes = torch.randn(count, model.latent_dim, generator=generator)
        return _features(evaluator, (model.decode(batch) for batch in codes.split(1_000)))


def training_features(evaluator: Evaluator, count: int) -> np.ndarray:
    """Features of training images with the classes in proportion, [count, d]."""
    train = evaluator.data.train
    images = train.images[stratified_order(train.labels)[:count]]
    with torch.no_grad():
        return _features(evaluator, (batch.float() / 255 for batch in images.split(1_000)))


def _features(evaluator: Evaluator, batches: Iterator[torch.Tensor]) -> np.ndarray:
    return evaluator.context.first.feature_set(map(evaluator.features, batches)).features


def by_count(real: np.ndarray, generated: np.ndarray, count: int) -> np.ndarray:
    """Distances of all disjoint sets of `count` images, [sets]."""
    return np.array([fid(real, generated[start * count :][:count]) for start in range(len(generated) // count)])


def rows_of(
    label: str, real: np.ndarray, generated: np.ndarray, default: int, *, is_model: bool
) -> tuple[list[Row], list[float]]:
    """The rows of one source of images, and its distances at N, 2N and 4N, then to half the split."""
    counts = [default // 2, default, 2 * default]
    values = [by_count(real, generated, count) for count in counts]
    means = [float(group.mean()) for group in values]
    limit = 2 * means[2] - means[1]  # linear extrapolation in 1/n to n = ∞
    noise = float(values[1].std(ddof=1)) / means[1] if len(values[1]) > 1 else float("nan")
    rows = [Row(f"{label}: FID at {count:,}", mean) for count, mean in zip(counts, means, strict=True)]
    rows.append(
        Row(f"{label}: bias at {default:,}", 1 - limit / means[1], MOST_BIAS if is_model else None, at_most=True)
    )
    if np.isfinite(noise):
        rows.append(Row(f"{label}: noise at {default:,}", noise))
    if is_model:
        halves = [fid(half, generated[:default]) for half in (real[::2], real[1::2])]
        means.append(float(np.mean(halves)))
        rows.append(Row(f"{label}: FID at {default:,}, half the split", means[-1]))
    return rows, means


def measure(data: ImageData, cache: Path) -> list[Row]:
    """The rows of one data set."""
    context = prepare_context(data, cache)
    evaluator = Evaluator(data, context)
    real = context.first.features["validation"].astype(np.float64)
    default = context.samples["validation"]
    # As many training images as the split has, but the digits are too few for that.
    few = min(len(real), data.summary.train_size // 3)
    features = training_features(evaluator, min(data.summary.train_size, SETS * 2 * few))
    rows, _ = rows_of(f"{data.name} training images", real, features, few, is_model=False)
    orders: list[list[float]] = []
    for name, params in MODELS.items():
        features = sample_features(evaluator, trained(data, params), SETS * 2 * default)
        found, means = rows_of(f"{data.name} {name}", real, features, default, is_model=True)
        rows += found
        orders.append(means)
    kept = len({tuple(np.argsort(column)) for column in np.array(orders).T}) == 1
    return [*rows, Row(f"{data.name}: order of the models kept", float(kept), 1)]


def main(data_dir: DataOption = Path("data"), cache: CacheOption = Path("runs/cache")) -> int:
    """Prints the rows of every available data set."""
    return data_sets.run(EPOCHS, measure, data_dir, cache)


if __name__ == "__main__":
    run_command(main)
