"""Records the learning curves that `benchmarks.search_replay` replays: real MNIST, many configurations, every epoch.

    python -m benchmarks.record_curves --data-dir ../shared/data

About 45 minutes on one CPU core. Every configuration follows from its number alone, so a recording can be interrupted,
resumed and extended: rows are appended, and recorded configurations are not trained again. Trainings are small, a few
seconds each: 8,000 training images (stratified), an MLP of width 128 and 16 epochs. Objectives are measured after every
epoch on 2,000 validation images, with as many generated ones, by the data set's feature network.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.options import CacheOption, DataOption
from benchmarks.replay import OBJECTIVES, TABLE
from study.cli import run_command
from study.config import DataSummary, TrialConfig
from study.data.datasets import ImageData, load_dataset
from study.data.splits import stratified_order
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator
from study.measure.metrics import MetricError
from study.space import weight_range
from study.training.loop import Trainer, TrainingError

CONFIGURATIONS, EPOCHS = 288, 16
TRAINING_IMAGES, MEASURED_IMAGES = 8_000, 2_000
PARAMETERS = ("method", "latent_dim", "weight", "learning_rate", "annealing", "annealing_fraction")
COLUMNS = ("configuration", *PARAMETERS, "epoch", "multiplier", *OBJECTIVES, "reconstruction_fid", "seconds")
_METHODS = {
    "AE": {"encoder": "deterministic", "regularizer": "none"},
    "VAE": {"encoder": "gaussian", "regularizer": "kl"},
    "WAE-MMD": {"encoder": "deterministic", "regularizer": "mmd", "kernel": "imq"},
}


def configuration(number: int, data: DataSummary) -> TrialConfig:
    """The configuration of that number: drawn at random, the same on every machine."""
    draw = np.random.RandomState(20_261 + number)
    method = ("AE", "VAE", "VAE", "VAE", "WAE-MMD", "WAE-MMD", "WAE-MMD")[draw.randint(7)]
    latent_dim = (2, 4, 8, 16, 32)[draw.randint(5)]
    learning_rate = float(np.exp(draw.uniform(math.log(3e-4), math.log(8e-3))))
    position, ramp, fraction = draw.uniform(), draw.randint(2), draw.uniform(0.1, 0.8)
    varying: dict[str, str | float] = {}
    if method != "AE":
        low, high = weight_range(data, _METHODS[method]["regularizer"])
        varying["weight"] = low * (high / low) ** position
        if ramp:
            varying |= {"annealing": "linear", "annealing_fraction": fraction}
    params = {
        "dataset": data.name,
        "network": "mlp",
        "width": 128,
        "batch_size": 64,
        "epochs": EPOCHS,
        "seed": number,
        "latent_dim": latent_dim,
        "learning_rate": learning_rate,
        **_METHODS[method],
        **varying,
    }
    return TrialConfig.from_params(params)


def curve(config: TrialConfig, data: ImageData, evaluator: Evaluator) -> Iterator[list[float]]:
    """One row per epoch: epoch, multiplier, objectives and the rest; NaN from the epoch that fails."""
    trainer = Trainer(config, data)
    failed = False
    for epoch in range(1, EPOCHS + 1):
        start = time.perf_counter()
        values = [math.nan] * 3
        if not failed:
            try:
                trainer.train_epoch()
                metrics = evaluator.search_metrics(trainer.model)
                values = [metrics[name] for name in (*OBJECTIVES, "reconstruction_fid")]
            except (TrainingError, MetricError):
                failed = True
        yield [epoch, trainer.multiplier, *values, time.perf_counter() - start]


def _recorded(table: Path) -> set[int]:
    """Numbers of the configurations in the table. Removes one that was cut off in the middle."""
    if not table.exists():
        table.write_text(",".join(COLUMNS) + "\n")
        return set()
    header, *lines = table.read_text().splitlines(keepends=True)
    lines = [line for line in lines if line.endswith("\n") and line.count(",") == len(COLUMNS) - 1]
    numbers = [int(line.partition(",")[0]) for line in lines]
    whole = {number for number in numbers if numbers.count(number) == EPOCHS}
    table.write_text(header + "".join(line for line, number in zip(lines, numbers, strict=True) if number in whole))
    return whole


def main(
    data_dir: DataOption = Path("data"),
    cache: CacheOption = Path("runs/cache"),
    table: Annotated[Path, typer.Option(help="Table to extend.")] = TABLE,
    configurations: Annotated[int, typer.Option(min=1, help="Configurations to record.")] = CONFIGURATIONS,
) -> int:
    """Records what is missing from the table."""
    torch.set_num_threads(1)
    data = load_dataset("mnist", data_dir)
    context = prepare_context(data, cache, max_images=MEASURED_IMAGES)
    context = dataclasses.replace(context, samples=dict.fromkeys(context.samples, MEASURED_IMAGES))
    evaluator = Evaluator(data, context)
    few = dataclasses.replace(data, train=data.train.take(stratified_order(data.train.labels)[:TRAINING_IMAGES]))
    done = _recorded(table)
    for number in range(configurations):
        if number in done:
            continue
        config = configuration(number, data.summary)
        params = config.to_params()
        shared = [number, *(params[name] for name in PARAMETERS)]
        rows = [[*shared, *values] for values in curve(config, few, evaluator)]
        with open(table, "a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([[_short(cell) for cell in row] for row in rows])
        print(number, params["method"], f"{sum(row[-1] for row in rows):.1f} s", rows[-1][-4:-1], flush=True)
    return 0


def _short(cell: object) -> object:
    return f"{cell:.6g}" if isinstance(cell, float) else cell


if __name__ == "__main__":
    run_command(main)
