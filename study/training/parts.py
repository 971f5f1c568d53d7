"""What a study trains once, before its trials, as parts that processes can make side by side."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from study.config import DataSummary, TrialConfig
from study.data.datasets import ImageData
from study.measure.context import prepare_instrument
from study.measure.instrument import networks_path, usual_specs
from study.measure.perceptual import classifier_path, perceptual_spec
from study.training.pretrain import first_stage_path, pretrain

Part = Callable[[ImageData, Path, torch.device | str], object]
"""Makes something of a data set on a device, and keeps it in the cache in the given folder."""


def missing_parts(
    summary: DataSummary, configs: Iterable[TrialConfig], cache: Path, feature_network: str | None
) -> list[Part]:
    """The parts that are not in the cache. None needs another.

    Args:
        summary: The data set's summary.
        configs: One fixed trial of each kind that needs something pretrained.
        cache: The folder of what studies share.
        feature_network: As of `study.measure.instrument`.
    """
    found: list[Part] = []
    for config in configs:
        needed = [first_stage_path(summary, cache)] if config.reads_codes else []
        if config.perceptual_weight > 0:
            needed.append(classifier_path(perceptual_spec(summary), summary, cache))
        if not all(path.is_file() for path in needed):
            found.append(functools.partial(_pretrain, config))
    # The second network, which usually learns without classes, takes longer.
    for spec in reversed(usual_specs(feature_network, summary)):
        if spec is not None and not networks_path(spec, summary, cache).is_file():
            found.append(functools.partial(prepare_instrument, spec))
    return found


def _pretrain(config: TrialConfig, data: ImageData, cache: Path, device: torch.device | str) -> None:
    pretrain(config, data, cache)
