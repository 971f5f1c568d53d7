"""What is missing in the cache before a study, and that a part fills it as the whole preparation would."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from study.config import TrialConfig
from study.data.datasets import ImageData
from study.measure import context
from study.measure.context import prepare_context
from study.measure.instrument import networks_path, usual_specs
from study.measure.perceptual import classifier_path, perceptual_spec
from study.training.parts import missing_parts
from study.training.pretrain import first_stage_path

STACKED = TrialConfig(network="stacked")
PERCEPTUAL = TrialConfig(perceptual_weight=0.1)


def test_only_what_the_cache_lacks_is_a_part(few_digits: ImageData, tmp_path: Path) -> None:
    summary = dataclasses.replace(few_digits.summary, height=28, width=28)

    def count(*configs: TrialConfig, network: str | None = None) -> int:
        return len(missing_parts(summary, configs, tmp_path, network))

    both = STACKED.replace(perceptual_weight=0.1)
    assert (count(), count(STACKED), count(STACKED, PERCEPTUAL, both)) == (2, 3, 4)
    first, second = usual_specs(None, summary)
    assert first is not None
    networks_path(second, summary, tmp_path).touch()
    first_stage_path(summary, tmp_path).touch()
    assert (count(), count(STACKED), count(STACKED, PERCEPTUAL)) == (1, 1, 2)
    classifier_path(perceptual_spec(summary), summary, tmp_path).touch()
    networks_path(first, summary, tmp_path).touch()
    assert count(STACKED, PERCEPTUAL) == 0
    assert count(network="imagenet") == 0  # its weights come from a package


def test_after_its_parts_the_preparation_trains_nothing(
    few_digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = prepare_context(few_digits, tmp_path / "whole").summary()
    parts = missing_parts(few_digits.summary, [PERCEPTUAL], tmp_path / "parts", None)
    assert len(parts) == 3
    for part in parts:
        part(few_digits, tmp_path / "parts", "cpu")
    assert not missing_parts(few_digits.summary, [PERCEPTUAL], tmp_path / "parts", None)
    monkeypatch.setattr(context._Calibrator, "_calibrate", lambda *given: pytest.fail("computed again"))
    assert prepare_context(few_digits, tmp_path / "parts").summary() == wanted
