"""Compares fitted priors, and cheap numbers that might stand for them, over models of every method.

    python -m benchmarks.priors --data-dir ../shared/data

For each data set it trains models of every method, latent sizes from 2 to 64 and weights over most of their range, or
reads them from `--cache`. To the codes of each model it fits one Gaussian, ten Gaussians as the RAE paper does
(1903.12436, §4), and the mixture that studies fit; with `--networks` also a normalising flow and a second-stage VAE.
All are judged by the FID of their samples against test images, with both feature networks. It prints

- how often a candidate is better than ten Gaussians, the median ratio of their FIDs, and the seconds it takes;
- the rank correlation of cheap numbers, measured on validation images, with `fitted_fid` on test images, and its 95 %
  interval over resampled models.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import scipy.stats
import torch
import typer
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from benchmarks import data_sets
from benchmarks.instrument import PARAMS
from benchmarks.options import CacheOption, DataOption
from benchmarks.prior_candidates import Flow, SecondStage
from benchmarks.rows import Row
from study.cli import run_command
from study.config import TrialConfig
from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.measure.comparison import FeatureSet
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator
from study.measure.features import measuring
from study.measure.generated import PRIOR_SEED
from study.measure.latent import spherical_midpoint
from study.model.autoencoder import Autoencoder
from study.model.building import build_autoencoder
from study.priors.choosing import CANDIDATES, Fit, fit_prior
from study.priors.mixture import Mixture
from study.priors.normal import Normal
from study.space import weight_range
from study.training.loop import Trainer, TrainingError

MODELS = 42
EPOCHS = {"mnist": 4, "fashion_mnist": 4}
"""On others as many as the data set's defaults say."""
LATENT_DIMS = {"digits": (2, 4, 8, 16, 32)}
MANY_LATENT_DIMS = (2, 4, 8, 16, 32, 64)
LARGEST_WEIGHT = 0.8
"""Weights go this far up the range of each regularizer's `weight_range`, on a log scale; most of the rest collapses."""
FITS: dict[str, tuple[Fit, ...]] = {
    "gaussian": (Normal.fit,),
    "ten": (lambda train, _, seed: Mixture.with_components(train, 10, seed, least_variance=1e-6),),
    "fitted": CANDIDATES,
}
NETWORKS: dict[str, tuple[Fit, ...]] = {"flow": (Flow.fit,), "second_stage": (SecondStage.fit,)}
PROXIES = (
    *("sample_fid", "expost_fid", "gaussian_fid", "nearest_fid", "interpolation_fid"),
    *("latent_mmd", "reconstruction_fid", "reconstruction_mse"),
)
"""Numbers on validation images: FID from N(0, I), ten Gaussians and one; of midpoints between each code and its nearest
training code (iFID, 2603.05630), and between random pairs; MMD² of the codes to N(0, I); reconstruction."""
RESAMPLES = 2_000
_METHODS = ("AE", "VAE", "WAE-MMD", "SWAE", "RAE-L2", "InfoVAE", "WAE-GAN")


def configuration(number: int, data: ImageData) -> TrialConfig:
    """The model of that number: the same on every machine."""
    draw = np.random.RandomState(777 + number)
    sizes = LATENT_DIMS.get(data.name, MANY_LATENT_DIMS)
    params: dict[str, Any] = {**data.summary.defaults, "dataset": data.name, "seed": number}
    method = _METHODS[number % len(_METHODS)]
    params |= {"latent_dim": sizes[(number // len(_METHODS) + number) % len(sizes)], **PARAMS[method]}
    if data.name in EPOCHS:
        params["epochs"] = EPOCHS[data.name]
    position = LARGEST_WEIGHT * draw.uniform()
    if method != "AE":
        low, high = weight_range(data.summary, PARAMS[method]["regularizer"])
        params["weight"] = low * (high / low) ** position
    return TrialConfig.from_params(params)


def trained(number: int, data: ImageData, folder: Path) -> Autoencoder | None:
    """That model, trained or read from the folder; None if it cannot be trained."""
    config, path = configuration(number, data), folder / f"{number:03d}.pt"
    if path.exists():
        model = build_autoencoder(config, data.summary)
        model.load_state_dict(torch.load(path, weights_only=True)["model"])
        return model
    trainer = Trainer(config, data)
    try:
        for _ in range(config.epochs):
            trainer.train_epoch()
    except TrainingError:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": trainer.model.state_dict()}, path)
    return trainer.model


def measured(model: Autoencoder, evaluator: Evaluator, fits: dict[str, tuple[Fit, ...]]) -> dict[str, float]:
    """FIDs of both networks and seconds for each candidate, by `name/first`, `name/second` and `name/seconds`; and the
    `PROXIES`."""
    with measuring(model):
        codes = evaluator.training_codes(model)
        found = {}
        for name, candidates in fits.items():
            start = time.perf_counter()
            prior = fit_prior(codes, PRIOR_SEED, candidates)
            found[f"{name}/seconds"] = time.perf_counter() - start
            z = prior.sample(evaluator.context.samples["test"], torch.Generator().manual_seed(PRIOR_SEED))
            found |= {f"{name}/{which}": fid for which, fid in _fids(evaluator, model, z, "test").items()}
            if name == "gaussian":
                z = prior.sample(evaluator.context.samples["validation"], torch.Generator().manual_seed(PRIOR_SEED))
                found["gaussian_fid"] = _fids(evaluator, model, z, "validation")["first"]
        midpoints = _nearest_midpoints(model, evaluator)
        found["nearest_fid"] = _fids(evaluator, model, midpoints, "validation")["first"]
    metrics = evaluator.search_metrics(model, [name for name in PROXIES if name not in found])
    return found | {name: metrics[name] for name in PROXIES if name not in found}


def _fids(evaluator: Evaluator, model: Autoencoder, z: Tensor, split: str) -> dict[str, float]:
    found = {}
    for which, calibrated, network in (
        ("first", evaluator.context.first, evaluator.features),
        ("second", evaluator.context.second, evaluator.second),
    ):
        assert calibrated is not None and network is not None
        features = calibrated.feature_set(map(network, evaluator.images(model, z)))
        found[which] = FeatureSet(calibrated.features[split]).fid(features)
    return found


def _nearest_midpoints(model: Autoencoder, evaluator: Evaluator) -> Tensor:
    """Half way between the mean code of each validation image and the nearest one of a training image."""
    real = evaluator.data.validation.first(len(evaluator.context.first.features["validation"])).images
    codes, training = (
        torch.cat([model.encode(as_float(batch)).mu for batch in images.split(500)])
        for images in (real, evaluator.data.train.first(10_000).images)
    )
    nearest = NearestNeighbors(n_neighbors=1).fit(training.numpy()).kneighbors(codes.numpy(), return_distance=False)
    return spherical_midpoint(codes, training[nearest[:, 0]])


def table(data: ImageData, cache: Path, models: int, networks: bool) -> list[dict[str, float]]:
    """The measurements of all models, from the cache as far as they are there."""
    path = cache / f"priors-{data.name}{'-networks' if networks else ''}.csv"
    fits = FITS | (NETWORKS if networks else {})
    columns = ["number", *(f"{name}/{what}" for name in fits for what in ("first", "second", "seconds")), *PROXIES]
    if not path.exists():
        path.write_text(",".join(columns) + "\n")
    with open(path, newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    evaluator = None
    for number in range(len(rows), models):
        evaluator = evaluator or Evaluator(data, prepare_context(data, cache))
        model = trained(number, data, cache / data.name)
        row = dict.fromkeys(columns, math.nan) | {"number": number}
        if model is not None:
            usable = {name: fit for name, fit in fits.items() if name != "flow" or model.latent_dim > 1}
            row |= measured(model, evaluator, usable)
        rows.append(row)
        with open(path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, columns, lineterminator="\n").writerow(row)
    return rows


def rows_of(name: str, found: list[dict[str, float]]) -> Iterator[Row]:
    """What a table of measurements says."""
    column = {key: np.array([row[key] for row in found]) for key in found[0]}
    known = np.isfinite(column["fitted/first"])
    yield Row(f"{name}: models", int(known.sum()))
    for candidate in [key.partition("/")[0] for key in column if key.endswith("/seconds") and key != "ten/seconds"]:
        for which in ("first", "second"):
            ratio = (column[f"{candidate}/{which}"] / column[f"ten/{which}"])[known]
            bar = 0.75 if candidate == "fitted" else None
            yield Row(f"{name}: {candidate}: better, {which}", float((ratio < 1).mean()), bar)
            yield Row(f"{name}: {candidate}: FID ratio, {which}", float(np.median(ratio)))
        yield Row(f"{name}: {candidate}: seconds", float(np.median(column[f"{candidate}/seconds"][known])))
        yield Row(f"{name}: {candidate}: most seconds", float(column[f"{candidate}/seconds"][known].max()))
    target = column["fitted/first"][known]
    for proxy in PROXIES:
        values = column[proxy][known]
        low, high = _interval(values, target)
        yield Row(f"{name}: {proxy}: Spearman", _rank_correlation(values, target))
        yield Row(f"{name}: {proxy}: 95 % from", low)
        yield Row(f"{name}: {proxy}: 95 % to", high)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's."""
    return float(np.corrcoef(scipy.stats.rankdata(a), scipy.stats.rankdata(b))[0, 1])


def _interval(values: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the rank correlation over models."""
    chosen = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    found = [_rank_correlation(values[rows], target[rows]) for rows in chosen]
    low, high = np.nanquantile(found, (0.025, 0.975))
    return float(low), float(high)


def main(
    data_dir: DataOption = Path("data"),
    cache: CacheOption = Path("runs/cache"),
    models: Annotated[int, typer.Option(min=4, help="Models of each data set.")] = MODELS,
    networks: Annotated[bool, typer.Option("--networks", help="Also fit a flow and a second-stage VAE.")] = False,
    dataset: Annotated[list[str] | None, typer.Option(help="Only this data set; repeat it for several.")] = None,
) -> int:
    """Prints the rows of every available data set."""

    def measure(data: ImageData, folder: Path) -> Iterator[Row]:
        return rows_of(data.name, table(data, folder, models, networks))

    return data_sets.run(dataset or ("digits", "mnist", "fashion_mnist"), measure, data_dir, cache)


if __name__ == "__main__":
    run_command(main)
