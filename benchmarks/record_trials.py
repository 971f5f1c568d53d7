"""Trains digits trials at random and scores the samples of each under feature networks of several seeds.

`benchmarks.recommendation` resamples studies from the table, and makes it if it is not in the cache: about ten minutes
on one CPU core. Every trial follows from its number alone, so a recording that was interrupted goes on where it ended.

Trials are those of the space `method`: any regularizer, any latent size, and weights over the whole range of
each regularizer's `weight_range`. The last row is no model: 50 training images, repeated, as a control for copying.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.feature_networks import build
from benchmarks.instrument import PARAMS, Instrument
from study.config import TrialConfig
from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.measure.features import measuring
from study.space import weight_range
from study.training.loop import Trainer, TrainingError

INSTRUMENT = "classes"
"""The feature network, a name of `benchmarks.feature_networks.CANDIDATES`."""
SEEDS = 3
TRIALS, IMAGES = 180, 3_000
COPIES = "copies"
SCORES = tuple(f"{name}_{seed}" for seed in range(SEEDS) for name in ("score", "precision", "coverage"))
COLUMNS = ("number", "method", "latent_dim", "weight", "reconstruction", *SCORES)
LATENT_DIMS = (2, 4, 8, 16)
_METHODS = ("AE", "VAE", "WAE-MMD", "SWAE", "RAE-L2", "InfoVAE", "WAE-GAN")
_COPIED = 50


def configuration(number: int, data: ImageData) -> TrialConfig:
    """The configuration of that number: drawn at random, the same on every machine."""
    draw = np.random.RandomState(31_337 + number)
    method, latent_dim = _METHODS[draw.randint(len(_METHODS))], LATENT_DIMS[draw.randint(len(LATENT_DIMS))]
    position = draw.uniform()
    params = {**data.summary.defaults, "dataset": data.name, "seed": number, "latent_dim": latent_dim, **PARAMS[method]}
    if method != "AE":
        low, high = weight_range(data.summary, PARAMS[method]["regularizer"])
        params["weight"] = low * (high / low) ** position
    return TrialConfig.from_params(params)


def _scores(instrument: Instrument, images: Tensor) -> list[float]:
    """Fréchet distance, precision and coverage of samples."""
    generated = instrument.feature_set(images)
    found = instrument.real.neighbourhood(generated)
    return [instrument.real.fid(generated), found.precision, found.coverage]


def record(data: ImageData, table: Path, cache: Path) -> None:
    """Adds what is missing to the table."""
    done = _recorded(table)
    if done == TRIALS + 1:
        return
    instruments = [Instrument(data, build(INSTRUMENT, data, seed, cache), IMAGES) for seed in range(SEEDS)]
    for number in range(done, TRIALS + 1):
        row = list(_trained(number, data, instruments)) if number < TRIALS else list(_copies(number, data, instruments))
        with open(table, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(row)


def _trained(number: int, data: ImageData, instruments: list[Instrument]) -> Iterator[object]:
    config = configuration(number, data)
    trainer = Trainer(config, data)
    yield from (number, config.method, config.latent_dim, f"{config.weight:.6g}")
    try:
        for _ in range(config.epochs):
            trainer.train_epoch()
    except TrainingError:
        yield from [math.nan] * (1 + len(SCORES))
        return
    codes = torch.randn(IMAGES, config.latent_dim, generator=torch.Generator().manual_seed(5))
    with measuring(trainer.model):
        real = as_float(data.validation.images)
        error = (trainer.model.decode(trainer.model.encode(real).mu).clamp(0, 1) - real).square().mean()
        samples = trainer.model.decode(codes).clamp(0, 1)
    yield from _cells([float(error)], samples, instruments)


def _copies(number: int, data: ImageData, instruments: list[Instrument]) -> Iterator[object]:
    chosen = as_float(data.train.images[:_COPIED])
    yield from (number, COPIES, 0, 0)
    yield from _cells([math.nan], chosen[torch.arange(IMAGES) % _COPIED], instruments)


def _cells(first: list[float], images: Tensor, instruments: list[Instrument]) -> Iterator[str]:
    images = (images * 255).round() / 255
    yield from (f"{value:.6g}" for value in (*first, *(value for one in instruments for value in _scores(one, images))))


def _recorded(table: Path) -> int:
    """The number of rows in the table. Removes a row that was cut off, and begins a table that does not exist."""
    if not table.exists():
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(",".join(COLUMNS) + "\n")
        return 0
    lines = table.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n") and line.count(",") == len(COLUMNS) - 1]
    table.write_text("".join(whole))
    return len(whole) - 1
