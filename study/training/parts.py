"""What a study trains once, before its trials, as parts that processes can make side by side."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from study.config import DataSummary, TrialConfig
from study.data.datasets import ImageData
from study.measure.context import prepare_instrument
from study.measure.instrument import networks_path, usual_specs
from study.measure.perceptual import classifier_path, perceptual_classifier, perceptual_spec
from study.training.pretrain import first_stage, first_stage_path

Part = Callable[[ImageData, Path, torch.device | str], object]
"""Makes something of a data set on a device, and keeps it in the cache in the given folder."""


def missing_parts(
    summary: DataSummary, configs: Sequence[TrialConfig], cache: Path, feature_network: str | None
) -> list[Part]:
    """The parts that are not in the cache, the longest first. None needs another.

    Args:
        summary: The data set's summary.
        configs: One fixed trial of each kind that needs something pretrained.
        cache: The folder of what studies share.
        feature_network: As of `study.measure.instrument`.
    """
    found: list[tuple[Path, Part]] = []
    if any(config.reads_codes for config in configs):
        found.append((first_stage_path(summary, cache), _first_stage))
    # The second network, which usually learns without classes, takes longer.
    for spec in reversed(usual_specs(feature_network, summary)):
        if spec is not None:
            found.append((networks_path(spec, summary, cache), functools.partial(prepare_instrument, spec)))
    if any(config.perceptual_weight > 0 for config in configs):
        found.append((classifier_path(perceptual_spec(summary), summary, cache), _perceptual))
    return [part for path, part in found if not path.is_file()]


def _first_stage(data: ImageData, cache: Path, device: torch.device | str) -> None:
    first_stage(data, cache)


def _perceptual(data: ImageData, cache: Path, device: torch.device | str) -> None:
    perceptual_classifier(data, cache)
