"""An instrument is examined before it is used, and one that sees nothing never gives a score."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.config import TrialConfig, UserError
from study.data.datasets import ImageData
from study.measure import context
from study.measure.checks import examine, live_share, require_live
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator
from study.measure.instrument import Instrument
from study.model.building import build_autoencoder


def pixels(images: torch.Tensor) -> np.ndarray:
    return images.flatten(1).float().numpy() / 255


def test_pixels_pass_but_for_quarters_that_keep_every_moment(digits: ImageData) -> None:
    found = examine(pixels, digits, None)
    assert set(found.ladders) == {"blur", "noise", "shuffled quarters"}
    assert found.chance == pytest.approx(0.1, abs=0.02)
    assert found.live > 0.5 and not [fault for fault in found.faults if "noise" in fault]


@pytest.mark.parametrize(
    ("extract", "accuracy", "fault"),
    [
        (lambda x: np.zeros((len(x), 4)), None, "only 0 % of its features vary"),
        (lambda x: np.pad(pixels(x)[:, 20:22], ((0, 0), (0, 6))), None, "only 25 % of its features vary"),
        (pixels, 0.12, "its accuracy is 12 %, chance 1"),
        (lambda x: np.sort(pixels(x), axis=1), None, "does not rise with shuffled quarters"),
    ],
)
def test_faults_are_found(digits: ImageData, extract, accuracy: float | None, fault: str) -> None:
    assert any(fault in found for found in examine(extract, digits, accuracy).faults)


def test_features_that_are_not_finite_are_not_live() -> None:
    values = np.random.default_rng(0).normal(size=(10, 3))
    assert live_share(values) == 1
    values[3, 1] = np.nan
    assert live_share(values) == 0
    with pytest.raises(UserError, match="give another with --feature-network"):
        require_live("mine:f", values)


def test_a_classifier_no_better_than_chance_is_replaced_and_the_study_told(few_digits: ImageData, cache: Path) -> None:
    """Labels at random: version 0.1 gave a FID of about 0 to every model where the network had died of such data."""
    order = torch.randperm(len(few_digits.train), generator=torch.Generator().manual_seed(0))
    train = dataclasses.replace(few_digits.train, labels=few_digits.train.labels[order])
    summary = dataclasses.replace(few_digits.summary, hash="shuffled")
    data = dataclasses.replace(few_digits, train=train, summary=summary)
    found = prepare_context(data, cache)
    assert found.first.instrument.name == "contrast"
    assert found.second is not None and found.second.instrument.name == "contrast, another network"
    [note] = found.notes
    assert note.startswith("feature network classes: ") and "its accuracy is" in note


def test_one_class_is_measured_without_classes(digits: ImageData, cache: Path) -> None:
    keep = {name: digits.split(name).labels == 3 for name in ("train", "validation", "test")}
    splits = {
        name: dataclasses.replace(digits.split(name), images=digits.split(name).images[rows],
                                  labels=torch.zeros(int(rows.sum()), dtype=torch.int64))
        for name, rows in keep.items()
    }  # fmt: skip
    summary = dataclasses.replace(digits.summary, num_classes=1, hash="threes")
    data = dataclasses.replace(digits, **splits, summary=summary)
    found = prepare_context(data, cache)
    assert found.first.instrument.name == "contrast"
    model = build_autoencoder(TrialConfig(encoder="deterministic", regularizer="none", latent_dim=4), summary)
    metrics = Evaluator(data, found).search_metrics(model)
    assert metrics["sample_fid"] > 3 * found.real_data["validation"]["sample_fid"]


def test_a_network_that_sees_nothing_is_refused(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blind_features.py").write_text("def f(x):\n    return x.flatten(1) * 0 + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="gives every image the same features"):
        prepare_context(digits, tmp_path / "cache", feature_network="blind_features:f")


def test_a_study_goes_on_where_only_one_family_is_alive(
    few_digits: ImageData, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs of solar cells: every feature of the classifier had died there."""

    def dead(*arguments: Any, **options: Any) -> Any:
        raise UserError("it gives every image the same features")

    def alive(name: str, *arguments: Any, **options: Any) -> Instrument:
        return dead() if name == "classes" else original(name, *arguments, **options)

    original = context.instrument
    monkeypatch.setattr(context, "instrument", alive)
    found = prepare_context(few_digits, cache)
    assert found.first.instrument.name == "contrast" and found.second is not None
    assert found.second.instrument.name == "contrast, another network"
    monkeypatch.setattr(context, "other_instrument", dead)
    alone = prepare_context(few_digits, cache)
    assert alone.second is None and alone.summary()["second_instrument"] is None and len(alone.notes) == 2
    model = build_autoencoder(TrialConfig(encoder="gaussian", regularizer="kl", latent_dim=4), few_digits.summary)
    assert "val/second_fid" not in Evaluator(few_digits, alone).final_metrics(model)
