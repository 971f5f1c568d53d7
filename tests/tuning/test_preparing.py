"""What trials share is prepared by the driver or by tasks, and its parts at the same time."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import pytest
import torch

from study.config import UserError
from study.data.datasets import ImageData
from study.measure.context import prepare_context
from study.tuning import preparing
from study.tuning.cluster import Cluster, Resources, room


def test_on_a_ray_of_its_own_the_driver_prepares_what_trials_share(
    tmp_path: Path, few_digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "is_here", True)
    monkeypatch.setattr(preparing.ray, "remote", lambda **options: pytest.fail("a task was made"))
    torch.set_num_threads(2)
    context = preparing.prepare(few_digits, [], tmp_path / "here", Cluster(None, Resources()))
    assert torch.get_num_threads() == 2
    here, by_hand = context.summary(), prepare_context(few_digits, tmp_path / "by hand").summary()
    errors = [[*summary.pop("pca")["test"].values()] for summary in (here, by_hand)]
    assert here == by_hand
    assert errors[0] == pytest.approx(errors[1], rel=1e-5)  # sums on two threads, and on one


def _meets(own: str, other: str, data: ImageData, cache: Path, device: str) -> None:
    (cache / own).write_text(f"{data.name} {device}")
    until = time.monotonic() + 60
    while not (cache / other).exists():
        assert time.monotonic() < until, "the other part is not made at the same time"
        time.sleep(0.05)
    (cache / f"{own} met").touch()


def _fails(data: ImageData, cache: Path, device: str) -> None:
    raise UserError("made again by the driver, which says why")


def test_parts_that_are_missing_are_made_at_the_same_time(
    tmp_path: Path, ray_session: None, few_digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    if room(Resources()) < 2:
        pytest.skip("needs two processors")
    parts = [functools.partial(_meets, "a", "b"), functools.partial(_meets, "b", "a"), _fails]
    monkeypatch.setattr(preparing, "is_tiny", lambda summary: False)
    monkeypatch.setattr(preparing, "missing_parts", lambda *given: parts)
    monkeypatch.setattr(preparing, "_compute", lambda *given: "the rest")
    monkeypatch.setattr(Cluster, "is_here", True)
    assert preparing.prepare(few_digits, [], tmp_path, Cluster(None, Resources())) == "the rest"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "a met", "b met"}
    assert (tmp_path / "a").read_text() == "digits cpu"
