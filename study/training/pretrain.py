"""Trains once per data set what trials share: the first stage of `stacked` and the perceptual classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from study.config import DataSummary, TrialConfig
from study.data.datasets import ImageData
from study.measure.cache import cached, content_key
from study.measure.features import one_thread
from study.measure.perceptual import perceptual_classifier
from study.model import stacked
from study.training.pretrained import Pretrained

_VERSION = 1


def pretrain(
    config: TrialConfig, data: ImageData, cache_dir: Path, *, device: str | torch.device = "cpu"
) -> Pretrained:
    """The pretrained parts that a trial needs, from the cache or trained now.

    Args:
        config: The trial.
        data: The data set.
        cache_dir: A folder that all studies share; its files are named by content.
        device: Where the trial will train. The parts are always trained on the CPU, so that all devices get the same.

    Raises:
        UserError: The first stage collapsed.
    """
    features = perceptual_classifier(data, cache_dir).to(device) if config.perceptual_weight > 0 else None
    if not config.reads_codes:
        return Pretrained(features=features)
    record = first_stage(data, cache_dir)
    return Pretrained(record["state"], record["codes"].to(device), features)


def first_stage(data: ImageData, cache_dir: Path) -> dict[str, Any]:
    """The `state` of a data set's first stage and the training images' `codes`, from the cache or trained now.

    Raises:
        UserError: It collapsed.
    """
    return cached(first_stage_path(data.summary, cache_dir), lambda: _first_stage(data))


def first_stage_path(summary: DataSummary, cache_dir: Path) -> Path:
    """The file that keeps the trained first stage of a data set."""
    return cache_dir / f"first-stage-{content_key(_VERSION, summary.hash, *stacked.SETTINGS)}.pt"


def _first_stage(data: ImageData) -> dict[str, Any]:
    with one_thread():  # faster than two threads beside other trials, and the same result on every machine
        images = data.train.images.cpu()
        stage = stacked.train_first_stage(data.summary, images)
        return {"state": stage.state_dict(), "codes": stage.encode_all(images)}
