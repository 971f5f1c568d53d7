"""Data and stand-ins that several test modules need."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from study.built_in import BUILT_IN
from study.code_map import map_pixels
from study.config import DataSummary
from study.data.datasets import ImageData


def small(data: ImageData, images: int) -> ImageData:
    """The data set with only that many images per split."""
    indices = torch.arange(images)
    splits = {name: data.split(name).take(indices) for name in ("train", "validation", "test")}
    summary = dataclasses.replace(
        data.summary, train_size=images, validation_size=images, test_size=images, hash=f"{data.summary.hash}-{images}"
    )
    return dataclasses.replace(data, **splits, summary=summary)


def made_summary(channels: int = 1, height: int = 8, width: int = 8, total_variance: float = 4.7) -> DataSummary:
    """The summary of an imaginary data set."""
    return DataSummary(
        name="digits",
        channels=channels,
        height=height,
        width=width,
        train_size=1077,
        validation_size=360,
        test_size=360,
        num_classes=10,
        total_variance=total_variance,
        hash="0",
        defaults={"network": "mlp", "width": 128, "batch_size": 64, "learning_rate": 2e-3, "epochs": 60},
    )


def units(network: str, summary: DataSummary, channels: int = 3) -> int:
    """A latent size that suits a network: that many units, or that many channels where the code is a map."""
    return channels * (map_pixels(summary, network) if BUILT_IN.of_kind("network")[network].downsampling else 1)


class Session:
    """Stands in for Ray Tune: keeps a trial's reports, and stops it after `stop_after` of them."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.reports: list[dict[str, Any]] = []
        self.stop_after = stop_after

    def report(self, metrics: dict[str, Any]) -> None:
        self.reports.append(metrics)
        if len(self.reports) == self.stop_after:
            raise SystemExit(0)
