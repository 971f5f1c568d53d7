"""How much noise of the feature networks a study's metrics are said to have."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from analysis.plotting.noise import network_noise
from study.results.frame import load_study
from tests.helpers_study import make_study

NAMES = ("val/reconstruction_mse", "val/sample_fid", "val/fitted_fid", "val/second_fid", "val/fitted_second_fid")


@pytest.mark.parametrize(
    ("channels", "first", "second", "noise"),
    [
        (1, "classes", "contrast", (0.0, 0.03, 0.03, 0.03, 0.03)),
        (3, "classes", "contrast", (0.0, 0.07, 0.07, 0.03, 0.03)),
        (3, "contrast", "classes", (0.0, 0.03, 0.03, 0.07, 0.07)),
        (3, None, None, (0.0, 0.07, 0.07, 0.07, 0.07)),  # begun before networks were recorded by name
    ],
)
def test_each_score_has_the_noise_of_the_network_it_is_measured_in(
    tmp_path: Path, channels: int, first: str | None, second: str | None, noise: tuple[float, ...]
) -> None:
    make_study(tmp_path, trials=2)
    frames = load_study(tmp_path, "toy")
    evaluation = {} if first is None else {"instrument": {"name": first}, "second_instrument": {"name": second}}
    data = dataclasses.replace(frames.study.data, channels=channels)
    record = frames.study.replace(data=data, evaluation=evaluation)
    assert tuple(network_noise(dataclasses.replace(frames, records=(record,)), NAMES)) == noise
