"""What every trial is measured against, computed once per data set and cached.

It holds the feature networks, the features of real images, the real-data baseline and the errors of PCA.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from study.config import UserError
from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.measure import checks
from study.measure.baselines import pca_errors
from study.measure.cache import cached, content_key
from study.measure.checks import Examination, examine
from study.measure.comparison import FeatureSet, Neighbourhood
from study.measure.features import images_per_batch
from study.measure.instrument import (
    Instrument,
    families,
    instrument,
    other_instrument,
    second_families,
    trained_instrument,
)
from study.measure.metrics import METRICS, require_finite
from study.measure.network_training import NetworkSpec
from study.measure.own_networks import NO_PLACES, Places

MAX_IMAGES = 5_000
MIN_GENERATED = 3_000
PER_REAL_IMAGE = 20
"""More images per real one tell models apart no better, since the real ones are too few (docs/metrics.md)."""
_VERSION = 6


@dataclass(frozen=True)
class Calibrated:
    """An instrument, and what it says of real images.

    Attributes:
        instrument: It turns images into features.
        scale: Factor on its features that makes the mean variance per feature over the training images 1.
        features: Features of real images by split, float32 [n, d], in the order of `stratified_order`.
        examination: What was found out about it on this data set.
    """

    instrument: Instrument
    scale: float
    features: dict[str, np.ndarray]
    examination: Examination

    def feature_set(self, batches: Iterable[Tensor]) -> FeatureSet:
        """Joins batches of its features [n, d] and scales them."""
        return FeatureSet(torch.cat([*batches]).cpu().numpy().astype(np.float64) * self.scale)

    def summary(self) -> dict[str, Any]:
        """The part that a study records, ready for JSON."""
        found = self.examination
        return {**self.instrument.summary(), "checks": {**found._asdict(), "faults": list(found.faults)}}


@dataclass(frozen=True)
class EvaluationContext:
    """What every trial's metrics are measured with and compared to. It holds plain arrays and numbers, so it pickles.

    Attributes:
        first: The instrument of every metric of samples but one.
        second: An instrument of another family, which measures `second_fid` alone; None if there is none.
        notes: Why these instruments and no others, in words for the user; empty if nothing was wrong.
        training: The first instrument's features of all training images, float32 [n, d].
        samples: How many images to generate, by split.
        real_data: The real-data baseline by split: metrics of training images in place of samples. A model can beat it.
        pca: `{split: {latent size: reconstruction MSE}}`.
    """

    first: Calibrated
    second: Calibrated | None
    notes: tuple[str, ...]
    training: np.ndarray
    samples: dict[str, int]
    real_data: dict[str, dict[str, float]]
    pca: dict[str, dict[int, float]]

    @property
    def key(self) -> tuple[Any, ...]:
        """Tells contexts apart."""
        counts = (*self.samples.values(), *map(len, self.first.features.values()))
        second = None if self.second is None else self.second.instrument.hash
        return (self.first.instrument.hash, second, self.first.scale, *counts)

    def summary(self) -> dict[str, Any]:
        """The part that a study records, ready for JSON."""
        return {
            "instrument": self.first.summary(),
            "second_instrument": None if self.second is None else self.second.summary(),
            "notes": list(self.notes),
            "real_data": self.real_data,
            "pca": {split: {str(size): error for size, error in errors.items()} for split, errors in self.pca.items()},
            "samples": self.samples,
            "images": {split: len(features) for split, features in self.first.features.items()},
        }


def prepare_context(
    data: ImageData,
    cache_dir: Path,
    *,
    feature_network: str | None = None,
    device: torch.device | str = "cpu",
    max_images: int = MAX_IMAGES,
    places: Places = NO_PLACES,
) -> EvaluationContext:
    """Trains the feature networks, checks them and measures the real data with them, or reads all from the cache.

    Args:
        data: The data set, on any device.
        cache_dir: A folder that all studies share; its files are named by content.
        feature_network: As of `study.measure.instrument`; by default the first family that passes its checks.
        device: Where features are computed. Networks are always trained on the CPU.
        max_images: The most real images of a split that feature metrics use.
        places: Where feature networks of the user's own are found.

    Raises:
        UserError: The network that was asked for cannot be used, or none sees anything in these images.
    """
    calibrate = _Calibrator(data, cache_dir, device, max_images)
    names = families(data.summary) if feature_network is None else [feature_network]
    first, notes = _first(calibrate, names, places)
    second = _second(calibrate, second_families(first.instrument.name, data.summary))
    if second is None:
        notes.append("no second feature network sees anything in these images, so there is no second_fid")
    elif second.examination.faults:
        notes.append(f"feature network {second.instrument.name} (the second): {', '.join(second.examination.faults)}")
    second_hash = None if second is None else second.instrument.hash
    key = content_key(_VERSION, data.summary.hash, first.instrument.hash, second_hash, max_images)
    record = cached(cache_dir / f"context-{key}.pt", lambda: calibrate.measure_real(first, second))
    training = record.pop("training").numpy()
    return EvaluationContext(first=first, second=second, notes=tuple(notes), training=training, **record)


def prepare_instrument(spec: NetworkSpec, data: ImageData, cache_dir: Path, device: torch.device | str) -> None:
    """Trains networks and computes their features of real images, for `prepare_context` to find in the cache.

    Raises:
        UserError: The networks see nothing in these images.
    """
    _Calibrator(data, cache_dir, device, MAX_IMAGES)(trained_instrument("of this study", spec, data, cache_dir))


class _Calibrator:
    """Applies instruments to the real images of a data set."""

    def __init__(self, data: ImageData, cache_dir: Path, device: torch.device | str, max_images: int) -> None:
        self.data = data
        self.cache_dir = cache_dir
        self._device = device
        self._max_images = max_images

    def __call__(self, found: Instrument) -> Calibrated:
        """An instrument with its examination and its features of real images, from the cache or computed now."""
        key = content_key(_VERSION, self.data.summary.hash, found.hash, self._max_images)
        record = cached(self.cache_dir / f"real-{key}.pt", lambda: self._calibrate(found))
        features = {split: values.numpy() for split, values in record["features"].items()}
        return Calibrated(found, record["scale"], features, Examination(**record["examination"]))

    def _calibrate(self, found: Instrument) -> dict[str, Any]:
        extract = self._extractor(found)
        train = extract(self.data.train.first(2 * self._max_images).images)
        checks.require_live(found.name, train)
        scale = 1 / math.sqrt(float(train.var(0, dtype=np.float64).mean()))
        real = {name: scale * extract(self._images(name)) for name in ("validation", "test")}
        examination = examine(extract, self.data, found.accuracy)
        return {
            "scale": scale,
            "features": {name: torch.from_numpy(values.astype(np.float32)) for name, values in real.items()},
            "examination": examination._asdict(),
        }

    def measure_real(self, first: Calibrated, second: Calibrated | None) -> dict[str, Any]:
        """The rest of the context."""
        samples = {name: generated_count(len(values)) for name, values in first.features.items()}
        images = self.data.train.first(len(self.data.train)).images
        train = first.scale * self._extractor(first.instrument)(images)
        again = None
        if second is not None:
            again = second.scale * self._extractor(second.instrument)(images[: max(samples.values())])
        real_data = {}
        for name, count in samples.items():
            real_data[name] = compare_features(FeatureSet(first.features[name]), FeatureSet(train[:count]))
            if second is not None and again is not None:
                real_data[name]["second_fid"] = FeatureSet(second.features[name]).fid(FeatureSet(again[:count]))
            require_finite({f"{name}/{metric}": value for metric, value in real_data[name].items()})
        measured = {"validation": self._images("validation"), "test": self.data.test.images}
        return {
            "training": torch.from_numpy(train.astype(np.float32)),
            "samples": samples,
            "real_data": real_data,
            "pca": pca_errors(self.data.train.images, measured),
        }

    def _images(self, split: str) -> Tensor:
        return self.data.split(split).first(self._max_images).images

    def _extractor(self, found: Instrument) -> checks.Extract:
        """The features [N, d] of stored images [N, C, H, W], not scaled."""
        features = found.build(self.data.summary, self._device)

        @torch.no_grad()
        def extract(images: Tensor) -> np.ndarray:
            batches = (features(as_float(batch.to(self._device))) for batch in images.split(images_per_batch(images)))
            return torch.cat(list(batches)).float().cpu().numpy()

        return extract


def _first(calibrate: _Calibrator, names: list[str], places: Places) -> tuple[Calibrated, list[str]]:
    """The first instrument that passes its checks; if none does, the one with the fewest faults."""
    tried: list[Calibrated] = []
    notes: list[str] = []
    for name in names:
        try:
            tried.append(calibrate(instrument(name, calibrate.data, calibrate.cache_dir, places=places)))
        except UserError as error:
            if name == names[-1] and not tried:
                raise
            notes.append(str(error))
            continue
        faults = tried[-1].examination.faults
        if not faults:
            return tried[-1], notes
        notes.append(f"feature network {name}: {', '.join(faults)}")
    chosen = min(tried, key=lambda found: len(found.examination.faults))
    notes.append(f"trust no score of samples that {chosen.instrument.name} gives, or give --feature-network")
    return chosen, notes


def _second(calibrate: _Calibrator, names: list[str]) -> Calibrated | None:
    """An instrument of one of these families, else of other networks; None if none of them sees anything."""
    makers = [functools.partial(instrument, name, networks=1) for name in names]
    found = None
    for make in (*makers, other_instrument):
        with contextlib.suppress(UserError):  # it gives every image the same features
            found = calibrate(make(data=calibrate.data, cache_dir=calibrate.cache_dir))
            if not found.examination.faults:
                break
    return found


def generated_count(real: int) -> int:
    """How many images to generate for the comparison with so many real ones."""
    return max(real, min(MIN_GENERATED, PER_REAL_IMAGE * real))


COMPARED = frozenset(name for name, metric in METRICS.items() if metric.function) | frozenset(Neighbourhood._fields)
"""What `compare_features` adds to `sample_fid`."""


def compare_features(real: FeatureSet, generated: FeatureSet) -> dict[str, float]:
    """Every metric that compares two sets of features, by name."""
    named = {name: metric.function(real, generated) for name, metric in METRICS.items() if metric.function}
    return {"sample_fid": real.fid(generated), **named, **real.neighbourhood(generated)._asdict()}
