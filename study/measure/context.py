"""What every trial is measured against, computed once per data set and cached.

It holds the feature network, the features of real images, the real-data baseline and the errors of PCA.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from study.data.datasets import ImageData
from study.measure.baselines import pca_errors
from study.measure.comparison import FeatureSet, Neighbourhood
from study.measure.features import (
    TrainedClassifier,
    as_float,
    cached,
    content_key,
    feature_network_spec,
    images_per_batch,
    trained_classifier,
)
from study.measure.metrics import METRICS, require_finite

MAX_IMAGES = 5_000
MIN_GENERATED = 3_000
_VERSION = 2


@dataclass(frozen=True)
class EvaluationContext:
    """What every trial's metrics are measured with and compared to. It holds plain arrays and numbers, so it pickles.

    Attributes:
        feature_network: The classifier.
        scale: Factor on its features that makes the mean variance per feature over the training images 1.
        features: Features of real images by split, float32 [n, d], in the order of `stratified_order`.
        samples: How many images to generate, by split.
        real_data: The real-data baseline by split: metrics of training images in place of samples. A model can beat it.
        pca: `{split: {latent size: reconstruction MSE}}`.
    """

    feature_network: TrainedClassifier
    scale: float
    features: dict[str, np.ndarray]
    samples: dict[str, int]
    real_data: dict[str, dict[str, float]]
    pca: dict[str, dict[int, float]]

    def summary(self) -> dict[str, Any]:
        """The part that a study records, ready for JSON."""
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
    """Trains the feature network and measures the real data with it, or reads both from the cache.

    Args:
        data: The data set, on any device.
        cache_dir: A folder that all studies share; its files are named by content.
        device: Where features are computed. The feature network is always trained on the CPU.
        max_images: The most real images of a split that feature metrics use.
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
        batches = (classifier.features(as_float(batch.to(device))) for batch in images.split(images_per_batch(images)))
        return torch.cat(list(batches)).cpu().numpy()

    with torch.no_grad():
        train = features(data.train.first(2 * max_images).images)
        scale = 1 / math.sqrt(max(float(train.var(0, dtype=np.float64).mean()), 1e-12))
        train *= scale
        real = {name: features(data.split(name).first(max_images).images) * scale for name in ("validation", "test")}
    samples = {name: max(len(values), MIN_GENERATED) for name, values in real.items()}
    real_data = {
        name: compare_features(FeatureSet(values), FeatureSet(train[: samples[name]])) for name, values in real.items()
    }
    require_finite({f"{name}/{metric}": value for name in real_data for metric, value in real_data[name].items()})
    measured = {"validation": data.validation.first(max_images).images, "test": data.test.images}
    return {
        "scale": scale,
        "features": {name: torch.from_numpy(values.astype(np.float32)) for name, values in real.items()},
        "samples": samples,
        "real_data": real_data,
        "pca": pca_errors(data.train.images, measured),
    }


COMPARED = frozenset(name for name, metric in METRICS.items() if metric.function) | frozenset(Neighbourhood._fields)
"""What `compare_features` adds to `sample_fid`."""


def compare_features(real: FeatureSet, generated: FeatureSet) -> dict[str, float]:
    """Every metric that compares two sets of features, by name."""
    named = {name: metric.function(real, generated) for name, metric in METRICS.items() if metric.function}
    return {"sample_fid": real.fid(generated), **named, **real.neighbourhood(generated)._asdict()}
