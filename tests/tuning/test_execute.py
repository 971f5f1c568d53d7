"""Which device trials get, and how the data reach them."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray.tune.execution.tune_controller import TuneController

from study.config import UserError
from study.data.datasets import ImageData
from study.measure.context import prepare_context
from study.tuning import execute, trainable
from study.tuning.cluster import Cluster, Resources
from study.tuning.trainable import assigned_device, keep_to_share, memory_share, pack, unpack


@pytest.mark.parametrize(
    ("given", "there", "device"), [([0], True, "cuda"), ([], True, "cpu"), ([0], False, "cpu"), ([], False, "cpu")]
)
def test_a_trial_uses_the_gpu_that_it_was_given(
    monkeypatch: pytest.MonkeyPatch, given: list[int], there: bool, device: str
) -> None:
    monkeypatch.setattr(trainable.ray, "get_gpu_ids", lambda: given)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert assigned_device() == device


@pytest.mark.parametrize(("gpus", "share"), [(0.25, 0.25), (1, 1.0), (2, 1.0)])
def test_a_trial_keeps_to_its_share_of_the_gpus_memory(
    monkeypatch: pytest.MonkeyPatch, gpus: float, share: float
) -> None:
    kept: list[float | str] = []
    assigned = {"CPU": 1.0, "GPU": gpus}
    context = SimpleNamespace(get_assigned_resources=lambda: assigned)
    monkeypatch.setattr(trainable.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", kept.append)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: kept.append("emptied"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: kept.append("reset"))
    keep_to_share()
    assert kept == [share, "emptied", "reset"]


def test_what_a_trial_has_held_of_its_gpus_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 3 * 2**29)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(total_memory=80 * 2**30))
    assert memory_share() == 0.025


def _shares_the_stores_memory(packed: Any) -> bool:
    _, _, arrays = packed
    data = unpack(packed)
    return all(
        not images.flags.owndata
        and not images.flags.writeable
        and data.split(name).images.data_ptr() == images.__array_interface__["data"][0]
        for name, (images, _) in arrays.items()
    )


def test_the_data_lie_once_on_a_node_however_many_trials_read_them(ray_session: None, digits: ImageData) -> None:
    stored = ray.put(pack(digits))
    task = ray.remote(_shares_the_stores_memory)
    assert ray.get([task.remote(stored) for _ in range(2)]) == [True, True]


def test_on_a_ray_of_its_own_the_driver_prepares_what_trials_share(
    tmp_path: Path, few_digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "is_here", True)
    monkeypatch.setattr(execute.ray, "remote", lambda **options: pytest.fail("a task was made"))
    torch.set_num_threads(2)
    context = execute.prepare(few_digits, [], tmp_path / "here", Cluster(None, Resources()))
    assert torch.get_num_threads() == 2
    here, by_hand = context.summary(), prepare_context(few_digits, tmp_path / "by hand").summary()
    errors = [[*summary.pop("pca")["test"].values()] for summary in (here, by_hand)]
    assert here == by_hand
    assert errors[0] == pytest.approx(errors[1], rel=1e-5)  # sums on two threads, and on one


def test_faults_met_ray_does_not_wait_long_for_trials_that_are_cut_off() -> None:
    controller = TuneController.__new__(TuneController)
    with execute._quick_cut_off():
        controller._actor_force_cleanup_timeout = 10  # as its constructor does
        assert controller._actor_force_cleanup_timeout == execute.CUT_OFF_SECONDS
    assert not hasattr(TuneController, "_actor_force_cleanup_timeout")  # others' studies keep Ray's own
    assert "_actor_force_cleanup_timeout" in TuneController._cleanup_stopping_actors.__code__.co_names


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
    parts = [functools.partial(_meets, "a", "b"), functools.partial(_meets, "b", "a"), _fails]
    monkeypatch.setattr(execute, "is_tiny", lambda summary: False)
    monkeypatch.setattr(execute, "missing_parts", lambda *given: parts)
    monkeypatch.setattr(execute, "_compute", lambda *given: "the rest")
    monkeypatch.setattr(Cluster, "is_here", True)
    assert execute.prepare(few_digits, [], tmp_path, Cluster(None, Resources())) == "the rest"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "a met", "b met"}
    assert (tmp_path / "a").read_text() == "digits cpu"
