"""Measures a model: from an autoencoder to its metrics.

`study.measure.context` computes what all trials share; an `Evaluator` holds it on a device. Measuring is deterministic,
draws from its own random numbers, and leaves the model and the global generators unchanged. Measuring more often
therefore never changes a training.

How many images: FID and the other feature metrics compare up to `max_images` real images with the same number of
generated ones, but at least 3,000, or 20 for each real one if that is less. Every trial uses the same images and the
same codes. Averages over images use those same images of the validation split, and all images of the test split.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from study.components import NO_COMPONENTS, Components
from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.measure.comparison import COPY_IMAGES, LEAST_HELD_OUT, FeatureSet, copied_share, nearest_distances
from study.measure.context import COMPARED, EvaluationContext, compare_features
from study.measure.features import images_per_batch, measuring
from study.measure.generated import Generated, Source
from study.measure.image_quality import psnr, ssim
from study.measure.instrument import Features
from study.measure.latent import active_units, iwae_nll, mmd_to_prior, normal_points, random_midpoints
from study.measure.metrics import FITTED, METRICS, MetricError, require_finite
from study.measure.own_metrics import own_metrics
from study.model.autoencoder import Autoencoder, Posterior
from study.model.divergences import gaussian_kl
from study.priors.fitted import FittedPrior

MAX_TRAINING_CODES = 10_000
IWAE_IMAGES, IWAE_SAMPLES = 500, 64
IMAGE_QUALITY = frozenset({"reconstruction_psnr", "reconstruction_ssim"})
"""What `_measure` leaves out unless it is asked: SSIM takes as long as the rest."""
_SEED = 20_190_329
_PREFIXES = {"validation": "val", "test": "test"}  # of a split's metrics in the records


class FinalMeasurement(NamedTuple):
    """What is known of a trained model.

    Attributes:
        metrics: By recorded name, `val/...` and `test/...`.
        prior: The prior that was fitted to its codes.
        warnings: Which densities of the space's own were left out for it, and why, a line each.
    """

    metrics: dict[str, float]
    prior: FittedPrior
    warnings: tuple[str, ...] = ()


class _Measured(NamedTuple):
    """One model on one split: what the search metrics and the final metrics both need."""

    metrics: dict[str, float]
    posterior: Posterior


class _Real(NamedTuple):
    """A split's real images on the device, as stored, [N, C, H, W], and the features of the first of them."""

    images: Tensor
    features: FeatureSet


class Evaluator:
    """Measures models on one data set and one device.

    Args:
        data: The data set.
        context: What `prepare_context` gave for this data set.
        device: The device of the models.
        own: The space's own metrics and densities of codes.
    """

    def __init__(
        self,
        data: ImageData,
        context: EvaluationContext,
        *,
        device: torch.device | str = "cpu",
        own: Components = NO_COMPONENTS,
    ) -> None:
        self.data = data
        self.own, self.priors = own.of_kind("metric"), (*own.of_kind("prior").values(),)
        self.context = context
        self.device = torch.device(device)
        self.features: Features = context.first.instrument.build(data.summary, self.device)
        second = context.second
        self.second: Features | None = None if second is None else second.instrument.build(data.summary, self.device)
        self._codes = torch.empty(0, 0)
        self._second_real = {} if second is None else {of: FeatureSet(x) for of, x in second.features.items()}
        self._to_training: dict[str, np.ndarray] = {}

    @cached_property
    def _validation(self) -> _Real:
        features = self.context.first.features["validation"]
        return _Real(self.data.validation.first(len(features)).images.to(self.device), FeatureSet(features))

    @cached_property
    def _test(self) -> _Real:
        images = self.data.test.first(len(self.data.test)).images.to(self.device)
        return _Real(images, FeatureSet(self.context.first.features["test"]))

    @cached_property
    def _train_images(self) -> Tensor:
        return self.data.train.first(MAX_TRAINING_CODES).images.to(self.device)

    def search_metrics(self, model: Autoencoder, objectives: Collection[str] = ()) -> dict[str, float]:
        """The cheap metrics and the objectives on the validation split. Early stopping sees these.

        Ten Gaussians stand for the fitted prior, since they are fitted in a tenth of the time. `final_metrics` measures
        the fitted prior itself, and what the search learns at a trial's end is that.

        Args:
            model: On the evaluator's device.
            objectives: Metrics that must be among them, whatever they cost.

        Raises:
            MetricError: A metric is not finite, or this model has no such objective.
        """
        with measuring(model):
            generated = self._generated(model)
            quality = not IMAGE_QUALITY.isdisjoint(objectives)
            measured = self._measure(model, "validation", generated, image_quality=quality)
            require_finite(measured.metrics)
            missing = set(objectives) - measured.metrics.keys()
            metrics = measured.metrics | self._costly(model, "validation", generated, measured, missing, stand_in=True)
        if absent := missing - metrics.keys():
            why = "a deterministic encoder has none; search Gaussian encoders alone"
            if not absent.isdisjoint({"second_fid", "fitted_second_fid", "copies", "fitted_copies"}):
                why = "these data have too few images, or no second feature network, for it"
            elif measured.posterior.logvar is not None:
                why = f"{model.config.likelihood} has a variance only beside a KL of weight above 0; search VAEs alone"
            raise MetricError(f"objective {', '.join(sorted(absent))}: {why}, or trade off another metric")
        require_finite(metrics)
        return metrics

    def final_metrics(self, model: Autoencoder) -> dict[str, float]:
        """The metrics of `final_measurement`."""
        return self.final_measurement(model).metrics

    def final_measurement(self, model: Autoencoder) -> FinalMeasurement:
        """Every metric on the validation and the test split. Call it once, at the end of a trial.

        Args:
            model: A fully trained model on the evaluator's device.

        Raises:
            MetricError: A metric is not finite.
        """
        metrics = {}
        with measuring(model):
            generated = self._generated(model)
            for split, prefix in _PREFIXES.items():
                found = self._final(model, split, generated)
                metrics.update({f"{prefix}/{name}": value for name, value in found.items()})
            return FinalMeasurement(metrics, generated.prior, tuple(generated.warnings))

    def _final(self, model: Autoencoder, split: str, generated: Generated) -> dict[str, float]:
        measured = self._measure(model, split, generated, image_quality=True)
        require_finite(measured.metrics)  # the others need finite codes and features
        metrics = measured.metrics | self._costly(model, split, generated, measured, {*METRICS, *self.own})
        metrics["prior_gap"] = metrics["sample_fid"] - metrics["fitted_fid"]
        require_finite(metrics)
        return metrics

    def _costly(
        self,
        model: Autoencoder,
        split: str,
        generated: Generated,
        measured: _Measured,
        wanted: Collection[str],
        *,
        stand_in: bool = False,
    ) -> dict[str, float]:
        """The wanted ones among the metrics that `_measure` leaves out, and those that come with them."""
        real, count, posterior = self._real(split), self.context.samples[split], measured.posterior
        metrics = self._of_samples(split, generated, "normal", set(wanted) - {"sample_fid"})
        fitted = {name for name, under_fitted in FITTED.items() if under_fitted in wanted}
        found = self._of_samples(split, generated, "ten" if stand_in else "fitted", fitted)
        metrics |= {FITTED[name]: value for name, value in found.items()}
        metrics |= own_metrics(self.own, wanted, real, lambda: generated.features("normal", count), generated.images)
        if "expost_fid" in wanted:
            metrics["expost_fid"] = real.features.fid(generated.features("ten", count))
        if "prior_components" in wanted:
            metrics["prior_components"] = float(generated.prior.components)
        if "interpolation_fid" in wanted:
            middle = random_midpoints(posterior.mu[: len(real.features)], _SEED)
            metrics["interpolation_fid"] = real.features.fid(self._decoded(model, middle))
        if "latent_mmd" in wanted:
            metrics["latent_mmd"] = mmd_to_prior(posterior.sample(self._generator()), _SEED)
        if "nll" in wanted and posterior.logvar is not None and model.has_density:
            images = as_float(real.images[:IWAE_IMAGES])
            size = max(1, images_per_batch(images) // 4)
            generator = self._generator()
            bounds = [iwae_nll(model, batch, IWAE_SAMPLES, generator) for batch in images.split(size)]
            metrics["nll"] = float(torch.cat(bounds).mean())
        return metrics

    def _of_samples(
        self, split: str, generated: Generated, source: Source, wanted: Collection[str]
    ) -> dict[str, float]:
        """The wanted metrics of samples from one source, named as if that were N(0, I), and those that come along."""
        real, count = self._real(split).features, self.context.samples[split]
        metrics: dict[str, float] = {}
        if not COMPARED.isdisjoint(wanted):
            metrics |= compare_features(real, generated.features(source, count))
        elif "sample_fid" in wanted:
            metrics["sample_fid"] = real.fid(generated.features(source, count))
        if "copies" in wanted and len(real) >= LEAST_HELD_OUT:
            metrics["copies"] = self._copies(split, real, generated.to_training(source, count))
        if "second_fid" in wanted and split in self._second_real:
            metrics["second_fid"] = self._second_real[split].fid(generated.second(source, count))
        return metrics

    def _real(self, split: str) -> _Real:
        return self._validation if split == "validation" else self._test

    def _generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(_SEED)

    def _prior_codes(self, n: int, latent_dim: int) -> Tensor:
        """Draws from N(0, I), [n, d]: the first n points and d coordinates of one draw for all models."""
        have, size = self._codes.shape
        if have < n or size < latent_dim:
            self._codes = normal_points(max(n, have), max(latent_dim, size), _SEED).to(self.device)
        return self._codes[:n, :latent_dim]

    def _generated(self, model: Autoencoder) -> Generated:
        return Generated(
            self.context,
            (self.features, self.second),
            decode=lambda z: self.images(model, z),
            normal_codes=lambda n: self._prior_codes(n, model.latent_dim),
            training_codes=lambda: self.training_codes(model),
            priors=self.priors,
        )

    def images(self, model: Autoencoder, z: Tensor) -> Iterator[Tensor]:
        """Batches of the images that codes [n, d] decode to."""
        return (model.decode(batch) for batch in z.split(images_per_batch(self.data.train.images)))

    def _decoded(self, model: Autoencoder, z: Tensor) -> FeatureSet:
        """The features of the images that codes [n, d] decode to."""
        return self.context.first.feature_set(map(self.features, self.images(model, z)))

    def _measure(
        self, model: Autoencoder, split: str, generated: Generated, *, image_quality: bool = False
    ) -> _Measured:
        real = self._real(split)
        errors, features, posteriors, distortions, quality = [], [], [], [], []
        left = len(real.features)
        # Every model of this latent size gets the same noise, so only the models make their bounds differ.
        noise = iter(self._prior_codes(len(real.images), model.latent_dim).split(images_per_batch(real.images)))
        for batch in real.images.split(images_per_batch(real.images)):
            x = as_float(batch)
            inputs = model.inputs(x)
            posterior = model.posterior(inputs)
            reconstruction = model.decode(posterior.mu)
            errors.append((reconstruction - x).square().sum(dtype=torch.float64))
            if image_quality:
                quality.append(torch.stack([psnr(reconstruction, x), ssim(reconstruction, x)]))
            posteriors.append(posterior)
            if posterior.logvar is not None:
                z = posterior.mu + (0.5 * posterior.logvar).exp() * next(noise)
                distortions.append(model.distortion(inputs, z).double())
            if left > 0:
                features.append(self.features(reconstruction[:left]))
                left -= len(x)
        mu = torch.cat([posterior.mu for posterior in posteriors])
        logvar = None
        if posteriors[0].logvar is not None:
            logvar = torch.cat([posterior.logvar for posterior in posteriors])
        second_moment = mu.double().square() if logvar is None else mu.double().square() + logvar.double().exp()
        metrics = {
            "reconstruction_mse": float(torch.stack(errors).sum()) / real.images.numel(),
            "reconstruction_fid": real.features.fid(self.context.first.feature_set(features)),
            "sample_fid": real.features.fid(generated.features("normal", self.context.samples[split])),
            "latent_rms": float(second_moment.mean().sqrt()),
            "mu_low": float(mu.min()),
            "mu_high": float(mu.max()),
        }
        if quality:
            psnr_mean, ssim_mean = torch.cat(quality, dim=1).double().mean(dim=1).tolist()
            metrics |= {"reconstruction_psnr": psnr_mean, "reconstruction_ssim": ssim_mean}
        if logvar is not None:
            metrics["sigma_low"] = float((0.5 * logvar.min()).exp())
            metrics["sigma_high"] = float((0.5 * logvar.max()).exp())
            metrics["kl"] = float(gaussian_kl(mu.double(), logvar.double()).mean())
            metrics["active_units"] = float(active_units(mu))
            distortion = torch.cat(distortions).mean()
            metrics["distortion"] = float(distortion)
            if model.has_density:
                metrics["log_likelihood"] = float(model.log_density(distortion))
                metrics["elbo"] = metrics["log_likelihood"] - metrics["kl"]
        return _Measured(metrics, Posterior(mu, logvar))

    def training_codes(self, model: Autoencoder) -> Tensor:
        """Codes [n, d], one drawn from the posterior of each training image."""
        generator = self._generator()
        batches = self._train_images.split(images_per_batch(self._train_images))
        return torch.cat([model.encode(as_float(batch)).sample(generator) for batch in batches])

    def _copies(self, split: str, real: FeatureSet, distances: np.ndarray) -> float:
        """How many samples lie as near to a training image as hardly any held-out image does."""
        if split not in self._to_training:
            self._to_training[split] = nearest_distances(real.features[:COPY_IMAGES], self.context.training)
        return copied_share(distances, self._to_training[split])
