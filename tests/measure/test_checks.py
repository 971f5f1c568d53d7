"""An instrument is examined before it is used, and one that sees nothing never gives a score."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from study.config import TrialConfig, UserError
from study.data.datasets import ImageData
from study.measure.checks import examine, live_share, require_live
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator
from study.model.autoencoder import build_autoencoder


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
    context = prepare_context(data, cache)
    assert context.first.instrument.name == "contrast"
    assert context.second.instrument.name == "contrast, another network"
    [note] = context.notes
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
    context = prepare_context(data, cache)
    assert context.first.instrument.name == "contrast"
    model = build_autoencoder(TrialConfig(encoder="deterministic", regularizer="none", latent_dim=4), summary)
    metrics = Evaluator(data, context).search_metrics(model)
    assert metrics["sample_fid"] > 3 * context.real_data["validation"]["sample_fid"]


def test_a_network_that_sees_nothing_is_refused(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blind_features.py").write_text("def f(x):\n    return x.flatten(1) * 0 + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="gives every image the same features"):
        prepare_context(digits, tmp_path / "cache", feature_network="blind_features:f")
