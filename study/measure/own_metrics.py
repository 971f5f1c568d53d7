"""Metrics of a search space's own, on samples from N(0, I) and on real images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
from torch import Tensor

from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.errors import located_errors
from study.measure.comparison import FeatureSet
from study.measure.context import EvaluationContext
from study.measure.metrics import Metric, MetricError, require_finite

MOST_IMAGES = 1_000
"""Images of each kind that a metric sees if it asks for images. The first of the split, which mixes the classes."""


def own_metrics(
    own: Mapping[str, Metric],
    wanted: Collection[str],
    real: tuple[Tensor, FeatureSet],
    features: Callable[[], FeatureSet],
    images: Callable[[int], Tensor],
) -> dict[str, float]:
    """The wanted ones among a space's own metrics, by name.

    Args:
        own: The metrics.
        wanted: Names.
        real: A split's real images, uint8 [N, C, H, W], and features.
        features: Gives the features of the images to compare with them.
        images: n -> the first n of those images, float [n, C, H, W] in [0, 1]. The metric gets them on the CPU.

    Raises:
        UserError: A metric's function raised an error; the message says where.
        MetricError: A metric is no number.
    """
    found: dict[str, float] = {}
    for name, metric in own.items():
        if name not in wanted or metric.function is None:
            continue
        n = min(MOST_IMAGES, len(real[0]))
        pair = (real[1], features()) if metric.sees == "features" else (as_float(real[0][:n]).cpu(), images(n).cpu())
        with located_errors():
            value = metric.function(*pair)
        try:
            found[name] = float(value)
        except (TypeError, ValueError, RuntimeError):
            raise MetricError(f"metric {name} is no number but {type(value).__name__}") from None
    return found


def real_data_baselines(
    own: Mapping[str, Metric], data: ImageData, context: EvaluationContext
) -> dict[str, dict[str, float]]:
    """The own metrics of training images in place of generated ones: split -> metric -> value.

    Raises:
        UserError, MetricError: As `own_metrics`.
    """
    found = {}
    for split, features in context.first.features.items():
        training = context.training[: context.samples[split]]
        found[split] = own_metrics(
            own,
            own.keys(),
            (data.split(split).first(len(data.split(split))).images, FeatureSet(features)),
            lambda training=training: FeatureSet(np.asarray(training)),
            lambda n: as_float(data.train.first(n).images),
        )
        require_finite({f"{split}/{name}": value for name, value in found[split].items()})
    return found
