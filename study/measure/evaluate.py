"""From a model to its metrics.

What all trials share (feature network, features of real images, real-data baselines, PCA errors) is computed once by
`prepare_context`; an `Evaluator` holds it on a device. Measuring is deterministic, has its own random numbers and
leaves model and global generators as they were, so that measuring more often never changes a training.

Counts: FID and its kin compare at most `max_images` real images with as many generated ones, and with 3,000 where the
split is smaller: every trial with the same images and the same codes. Averages over images are taken on the same images
of the validation split, and on the whole test split.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from study.data.datasets import ImageData
from study.data.splits import Split, stratified_order
from study.measure.baselines import pca_errors
from study.measure.features import (
    Classifier,
    TrainedClassifier,
    as_float,
    cached,
    content_key,
    feature_network_spec,
    trained_classifier,
)
from study.measure.latent import DENSITIES, Density, active_units, iwae_nll, spherical_midpoint
from study.measure.metrics import METRICS, FeatureSet, MetricError, require_finite
from study.model.autoencoder import Autoencoder, Posterior
from study.model.divergences import gaussian_kl, squared_mmd

MAX_IMAGES = 5_000
MIN_GENERATED = 3_000
MAX_TRAINING_CODES = 10_000
MMD_CODES = 2_000
IWAE_IMAGES, IWAE_SAMPLES = 500, 64
_VERSION = 1
_SEED = 20_190_329
_PREFIXES = {"validation": "val", "test": "test"}
"""What a split's metrics are recorded under."""


@dataclass(frozen=True)
class EvaluationContext:
    """What every trial's metrics are measured with and compared to. Plain arrays and numbers: it can be pickled.

    Attributes:
        feature_network: The classifier.
        scale: What its features are multiplied by, so that the training images' mean variance per feature is 1.
        features: Real features by split, float32 [n, d]; the split's images in the order of `stratified_order`.
        samples: Generated images by split.
        real_data: Metrics of training images in place of samples, by split: a reference, not a bound.
        pca: `{split: {latent size: reconstruction MSE}}`.
    """

    feature_network: TrainedClassifier
    scale: float
    features: dict[str, np.ndarray]
    samples: dict[str, int]
    real_data: dict[str, dict[str, float]]
    pca: dict[str, dict[int, float]]

    def summary(self) -> dict[str, Any]:
        """The JSON-able record of a study."""
        return {
            "classifier": {
                "hash": self.feature_network.hash,
                "accuracy": self.feature_network.accuracy,
                "features": self.feature_network.spec.features,
                "seed": self.feature_network.spec.seed,
            },
            "real_data": self.real_data,
            "pca": {split: {str(size): error for size, error in errors.items()} for split, errors in self.pca.items()},
            "samples": self.samples,
            "images": {split: len(features) for split, features in self.features.items()},
        }


def prepare_context(
    data: ImageData, cache_dir: Path, *, device: torch.device | str = "cpu", max_images: int = MAX_IMAGES
) -> EvaluationContext:
    """Trains the feature network and measures the real data with it, or finds both in the cache.

    Args:
        data: The data set, on any device.
        cache_dir: Shared by all studies; files are named by content.
        device: Where features are computed; the feature network is always trained on the CPU.
        max_images: Most real images of a split that FID and its kin use.
    """
    feature_network = trained_classifier(data, feature_network_spec(data.summary), cache_dir)
    key = content_key(_VERSION, data.summary.hash, feature_network.hash, max_images)
    record = cached(cache_dir / f"context-{key}.pt", lambda: _measure_real(data, feature_network, device, max_images))
    return EvaluationContext(
        feature_network=feature_network,
        scale=record["scale"],
        features={split: features.numpy() for split, features in record["features"].items()},
        samples=record["samples"],
        real_data=record["real_data"],
        pca=record["pca"],
    )


def _measure_real(
    data: ImageData, feature_network: TrainedClassifier, device: torch.device | str, max_images: int
) -> dict[str, Any]:
    classifier = feature_network.build(data.summary).to(device)

    def features(images: Tensor) -> np.ndarray:
        batches = (classifier.features(as_float(batch.to(device))) for batch in images.split(_batch_size(images)))
        return torch.cat(list(batches)).cpu().numpy()

    with torch.no_grad():
        train = features(_first(data.train, 2 * max_images))
        scale = 1 / math.sqrt(max(float(train.var(0, dtype=np.float64).mean()), 1e-12))
        train *= scale
        real = {name: features(_first(data.split(name), max_images)) * scale for name in ("validation", "test")}
    samples = {name: max(len(values), MIN_GENERATED) for name, values in real.items()}
    real_data = {
        name: _feature_metrics(FeatureSet(values), FeatureSet(train[: samples[name]])) for name, values in real.items()
    }
    require_finite({f"{name}/{metric}": value for name in real_data for metric, value in real_data[name].items()})
    measured = {"validation": _first(data.validation, max_images), "test": data.test.images}
    return {
        "scale": scale,
        "features": {name: torch.from_numpy(values.astype(np.float32)) for name, values in real.items()},
        "samples": samples,
        "real_data": real_data,
        "pca": pca_errors(data.train.images, measured),
    }


def _first(split: Split, count: int) -> Tensor:
    """The split's first images in the order that keeps classes in proportion."""
    order = stratified_order(split.labels.cpu())[:count]
    return split.images[order.to(split.images.device)]


def _feature_metrics(real: FeatureSet, generated: FeatureSet) -> dict[str, float]:
    """Everything that compares two sets of features, `sample_fid` among it."""
    named = {name: metric.function(real, generated) for name, metric in METRICS.items() if metric.function}
    return {"sample_fid": real.fid(generated), **named, **real.neighbourhood(generated)._asdict()}


def _batch_size(images: Tensor) -> int:
    """Keeps a batch's activations small: convolutions of 1,024 MNIST images took 1.2 to 1.4 times as long per image."""
    return max(64, min(256, 1_000_000 // images[0].numel()))


@contextlib.contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


class _Measured(NamedTuple):
    """What both metric sets need of one model on one split."""

    metrics: dict[str, float]
    posterior: Posterior


class _Real(NamedTuple):
    """The real side of a split: its images on the device, uint8 [N, C, H, W], and the features of the first of them."""

    images: Tensor
    features: FeatureSet


class Evaluator:
    """Measures models on one data set and one device.

    Args:
        data: The data set.
        context: Of these data, from `prepare_context`.
        device: Where models will be.
    """

    def __init__(self, data: ImageData, context: EvaluationContext, *, device: torch.device | str = "cpu") -> None:
        self.data = data
        self.context = context
        self.device = torch.device(device)
        self.feature_network: Classifier = context.feature_network.build(data.summary).to(self.device)
        self._codes: dict[tuple[int, int], Tensor] = {}

    @cached_property
    def _validation(self) -> _Real:
        features = self.context.features["validation"]
        return _Real(_first(self.data.validation, len(features)).to(self.device), FeatureSet(features))

    @cached_property
    def _test(self) -> _Real:
        images = _first(self.data.test, len(self.data.test)).to(self.device)
        return _Real(images, FeatureSet(self.context.features["test"]))

    @cached_property
    def _train_images(self) -> Tensor:
        return _first(self.data.train, MAX_TRAINING_CODES).to(self.device)

    def search_metrics(self, model: Autoencoder) -> dict[str, float]:
        """The objectives and what is cheap, on the validation split: what search and early stopping see.

        Raises:
            MetricError: One is not finite.
        """
        with measuring(model):
            metrics = self._measure(model, "validation", _Generated(self, model)).metrics
        require_finite(metrics)
        return metrics

    def final_metrics(self, model: Autoencoder) -> dict[str, float]:
        """Every metric on both splits, once, at the end of a trial.

        Args:
            model: Trained to the end, on the evaluator's device.

        Returns:
            By recorded name: `val/...` and `test/...`.

        Raises:
            MetricError: One is not finite.
        """
        metrics = {}
        with measuring(model):
            generated = _Generated(self, model)
            for split, prefix in _PREFIXES.items():
                found = self._final(model, split, generated)
                metrics.update({f"{prefix}/{name}": value for name, value in found.items()})
        return metrics

    def _final(self, model: Autoencoder, split: str, generated: _Generated) -> dict[str, float]:
        metrics, posterior = self._measure(model, split, generated)
        require_finite(metrics)  # the rest needs finite codes and features
        real, count = self._real(split), self.context.samples[split]
        metrics.update(_feature_metrics(real.features, generated.from_prior(count)))
        for name in DENSITIES:
            metrics[name] = real.features.fid(generated.from_density(name, count))
        metrics["prior_gap"] = metrics["sample_fid"] - metrics["expost_fid"]
        metrics["interpolation_fid"] = self._interpolation_fid(model, real, posterior.mu)
        metrics["latent_mmd"] = self._latent_mmd(posterior)
        if posterior.logvar is not None:
            images = as_float(real.images[:IWAE_IMAGES])
            size = max(1, _batch_size(images) // 4)
            generator = self._generator()
            bounds = [iwae_nll(model, batch, IWAE_SAMPLES, generator) for batch in images.split(size)]
            metrics["nll"] = float(torch.cat(bounds).mean())
        require_finite(metrics)
        return metrics

    def _real(self, split: str) -> _Real:
        return self._validation if split == "validation" else self._test

    def _generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(_SEED)

    def _prior_codes(self, n: int, latent_dim: int) -> Tensor:
        """The fixed draws from N(0, I) that every model of this latent size is measured with, [n, d]."""
        if (n, latent_dim) not in self._codes:
            self._codes = {key: codes for key, codes in self._codes.items() if key[1] == latent_dim}
            generator = torch.Generator().manual_seed(_SEED + latent_dim)
            self._codes[n, latent_dim] = torch.randn(n, latent_dim, generator=generator).to(self.device)
        return self._codes[n, latent_dim]

    def _scaled(self, features: Sequence[Tensor]) -> FeatureSet:
        """Of batches of the feature network's features."""
        return FeatureSet(torch.cat([*features]).cpu().numpy().astype(np.float64) * self.context.scale)

    def _features(self, images: Iterable[Tensor]) -> FeatureSet:
        """Of batches of images in [0, 1]."""
        return self._scaled([self.feature_network.features(batch) for batch in images])

    def _decoded(self, model: Autoencoder, z: Tensor) -> FeatureSet:
        """Of the images that codes [n, d] decode to."""
        return self._features(model.decode(batch) for batch in z.split(_batch_size(self.data.train.images)))

    def _measure(self, model: Autoencoder, split: str, generated: _Generated) -> _Measured:
        real = self._real(split)
        errors, features, posteriors, likelihoods = [], [], [], []
        left = len(real.features)
        # The same noise for every model of this latent size: bounds then differ by their models alone.
        noise = iter(self._prior_codes(len(real.images), model.latent_dim).split(_batch_size(real.images)))
        for batch in real.images.split(_batch_size(real.images)):
            x = as_float(batch)
            inputs = model.inputs(x)
            posterior = model.posterior(inputs)
            reconstruction = model.decode(posterior.mu)
            errors.append((reconstruction - x).square().sum(dtype=torch.float64))
            posteriors.append(posterior)
            if posterior.logvar is not None:
                z = posterior.mu + (0.5 * posterior.logvar).exp() * next(noise)
                likelihoods.append(model.log_likelihood(inputs, z).double())
            if left > 0:
                features.append(self.feature_network.features(reconstruction[:left]))
                left -= len(x)
        mu = torch.cat([posterior.mu for posterior in posteriors])
        logvar = None
        if posteriors[0].logvar is not None:
            logvar = torch.cat([posterior.logvar for posterior in posteriors])
        second_moment = mu.double().square() if logvar is None else mu.double().square() + logvar.double().exp()
        metrics = {
            "reconstruction_mse": float(torch.stack(errors).sum()) / real.images.numel(),
            "reconstruction_fid": real.features.fid(self._scaled(features)),
            "sample_fid": real.features.fid(generated.from_prior(self.context.samples[split])),
            "latent_rms": float(second_moment.mean().sqrt()),
            "mu_low": float(mu.min()),
            "mu_high": float(mu.max()),
        }
        if logvar is not None:
            metrics["sigma_low"] = float((0.5 * logvar.min()).exp())
            metrics["sigma_high"] = float((0.5 * logvar.max()).exp())
            metrics["kl"] = float(gaussian_kl(mu.double(), logvar.double()).mean())
            metrics["active_units"] = float(active_units(mu))
            metrics["log_likelihood"] = float(torch.cat(likelihoods).mean())
            metrics["elbo"] = metrics["log_likelihood"] - metrics["kl"]
        return _Measured(metrics, Posterior(mu, logvar))

    def _training_codes(self, model: Autoencoder) -> Tensor:
        """Codes of training images, drawn from their posteriors, [n, d]."""
        generator = self._generator()
        batches = self._train_images.split(_batch_size(self._train_images))
        return torch.cat([model.encode(as_float(batch)).sample(generator) for batch in batches])

    def _interpolation_fid(self, model: Autoencoder, real: _Real, mu: Tensor) -> float:
        """FID of decoded midpoints between the codes of random pairs of the split's images."""
        count = len(real.features)
        codes = mu[:count]
        order = torch.randperm(count, generator=torch.Generator().manual_seed(_SEED)).to(mu.device)
        middle = spherical_midpoint(codes[order], codes[order.roll(1)])
        return real.features.fid(self._decoded(model, middle))

    def _latent_mmd(self, posterior: Posterior) -> float:
        """Between up to 2,000 codes drawn from the posteriors and 2,000 draws from N(0, I), IMQ kernel."""
        z = posterior.sample(self._generator())[:MMD_CODES].float()
        return float(squared_mmd(z, self._prior_codes(MMD_CODES, z.shape[1]), "imq"))


class _Generated:
    """Features of what a model generates, by how many: both splits are compared with the same, made once.

    Args:
        evaluator: Knows the feature network, the data and the draws from the prior.
        model: Must not change as long as this is used.
    """

    def __init__(self, evaluator: Evaluator, model: Autoencoder) -> None:
        self._evaluator = evaluator
        self._model = model
        self._sets: dict[tuple[str, int], FeatureSet] = {}

    def from_prior(self, n: int) -> FeatureSet:
        """Of images decoded from n draws from the prior."""
        return self._set("prior", n, lambda: self._evaluator._prior_codes(n, self._model.latent_dim))

    def from_density(self, name: str, n: int) -> FeatureSet:
        """Of images decoded from n draws from one of `DENSITIES`, fitted to codes of training images."""
        device = self._evaluator.device
        return self._set(name, n, lambda: torch.from_numpy(self._densities[name].sample(n)).to(device, torch.float32))

    @cached_property
    def _densities(self) -> dict[str, Density]:
        codes = self._evaluator._training_codes(self._model).cpu().numpy().astype(np.float64)
        if not np.isfinite(codes).all():
            raise MetricError("not a finite metric: codes of training images are not finite")
        return {name: density(codes) for name, density in DENSITIES.items()}

    def _set(self, source: str, n: int, draw: Callable[[], Tensor]) -> FeatureSet:
        if (source, n) not in self._sets:
            self._sets[source, n] = self._evaluator._decoded(self._model, draw())
        return self._sets[source, n]
