"""Where trials fit, which device they get, and how the data reach them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from study.config import UserError
from study.data.datasets import ImageData
from study.tuning import execute, trainable
from study.tuning.execute import Resources
from study.tuning.trainable import assigned_device, keep_to_share, pack, unpack

HEAD: dict[str, float] = {"memory": 4e9}
CPU_NODE = {"CPU": 2.0}
GPU_NODE = {"CPU": 8.0, "GPU": 1.0}


def _set_nodes(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]]) -> None:
    alive = [{"Alive": True, "Resources": node} for node in nodes]
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}])


@pytest.mark.parametrize(
    ("wanted", "slots"),
    [
        ({"cpus": 1}, 12),
        ({"cpus": 2}, 6),
        ({"cpus": 3}, 2),  # two cores here and one there are no three
        ({"cpus": 0.1}, 120),
        ({"cpus": 1, "gpus": 0.25}, 4),
        ({"cpus": 4, "gpus": 0.25}, 2),
        ({"cpus": 1, "max_concurrent": 3}, 3),
    ],
)
def test_a_trial_lies_on_one_node(monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any], slots: int) -> None:
    _set_nodes(monkeypatch, [HEAD, CPU_NODE, CPU_NODE, GPU_NODE])
    assert execute._slots(Resources(**wanted)) == slots


@pytest.mark.parametrize(
    ("nodes", "wanted", "words"),
    [
        ([HEAD], {"cpus": 1}, ["add a worker", "0 CPU"]),
        ([HEAD, CPU_NODE, CPU_NODE], {"cpus": 4}, ["--cpus-per-trial 4", "2 CPU"]),
        ([HEAD, CPU_NODE], {"cpus": 1, "gpus": 0.5}, ["--gpus-per-trial 0.5", "0 GPU"]),
    ],
)
def test_a_trial_that_fits_nowhere_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]], wanted: dict[str, Any], words: list[str]
) -> None:
    _set_nodes(monkeypatch, nodes)
    with pytest.raises(UserError) as caught:
        execute._check_room(Resources(**wanted))
    assert all(word in str(caught.value) for word in words)


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
    kept: list[float] = []
    assigned = {"CPU": 1.0, "GPU": gpus}
    context = SimpleNamespace(get_assigned_resources=lambda: assigned)
    monkeypatch.setattr(trainable.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", kept.append)
    keep_to_share()
    assert kept == [share]


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
