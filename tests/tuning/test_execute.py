"""Which device trials get, and how the data reach them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray.tune.execution.tune_controller import TuneController

from study.data.datasets import ImageData
from study.tuning import execute, trainable
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


def test_faults_met_ray_does_not_wait_long_for_trials_that_are_cut_off() -> None:
    controller = TuneController.__new__(TuneController)
    with execute._quick_cut_off():
        controller._actor_force_cleanup_timeout = 10  # as its constructor does
        assert controller._actor_force_cleanup_timeout == execute.CUT_OFF_SECONDS
    assert not hasattr(TuneController, "_actor_force_cleanup_timeout")  # others' studies keep Ray's own
    assert "_actor_force_cleanup_timeout" in TuneController._cleanup_stopping_actors.__code__.co_names
