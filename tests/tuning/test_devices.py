"""Trials go to GPUs while there are slots, then to CPUs of nodes without any, and move when nodes come and go."""

from __future__ import annotations

from collections import Counter

import pytest
import ray

from study.tuning import devices
from study.tuning.cluster import Resources
from study.tuning.devices import Devices, placement
from tests.tuning.test_cluster import CPU_NODE, GPU_NODE, HEAD, _set_nodes

EITHER = Resources(gpus=0.5, any_device=True)


def test_gpus_come_first_and_a_slot_that_is_free_again_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    _set_nodes(monkeypatch, [HEAD, CPU_NODE, GPU_NODE])
    assigned = Devices(EITHER)
    assert [assigned.assign(name) for name in "abcd"] == ["gpu", "gpu", "cpu", "cpu"]
    assigned.release("c")
    assert assigned.assign("e") == "cpu"
    assigned.release("a")
    assert assigned.assign("f") == "gpu"
    assert assigned.assign("one too many") == "gpu"  # there the wait is the shorter one


@pytest.mark.parametrize(
    ("resources", "device"),
    [
        (Resources(any_device=True), "cpu"),
        (Resources(gpus=0.5), "gpu"),
        (Resources(), "cpu"),
    ],
)
def test_where_only_one_kind_will_do_nobody_looks_at_the_nodes(
    monkeypatch: pytest.MonkeyPatch, resources: Resources, device: str
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: pytest.fail("looked"))
    assigned = Devices(resources)
    assert assigned.assign("a") == assigned.assign_again("a") == device
    assert not assigned.starved


def test_nodes_that_join_and_leave_are_counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assigned = Devices(EITHER)
    _set_nodes(monkeypatch, [CPU_NODE])
    assert assigned.assign("a") == "cpu"
    _set_nodes(monkeypatch, [CPU_NODE, GPU_NODE])
    assert assigned.assign("b") == "gpu"
    _set_nodes(monkeypatch, [CPU_NODE])
    assert assigned.assign("c") == "cpu"


def test_a_trial_that_was_lost_goes_where_its_node_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray still counts the node of a process that has just died."""
    _set_nodes(monkeypatch, [{"CPU": 1.0}, GPU_NODE])
    now = 0.0
    monkeypatch.setattr(devices.time, "monotonic", lambda: now)
    assigned = Devices(EITHER)
    assert [assigned.assign(name) for name in "abc"] == ["gpu", "gpu", "cpu"]
    assert assigned.assign_again("c") == "gpu"
    assert assigned.assign("d") == "gpu"  # not to the dead node's slot either
    for name in "ad":
        assigned.release(name)
    now = devices.LOST_SECONDS
    assert assigned.assign("e") == "cpu"  # it was the process alone: b and c are on the GPU


def test_trials_of_a_gpu_node_that_died_wait_for_cpus_that_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    _set_nodes(monkeypatch, [CPU_NODE, GPU_NODE])
    assigned = Devices(EITHER)
    assert [assigned.assign(name) for name in "abcd"] == ["gpu", "gpu", "cpu", "cpu"]
    assert [assigned.assign_again(name) for name in "ab"] == ["cpu", "cpu"]
    assigned.lose("a")  # for good; a CPU trial was lost now as well, so that both kinds are in doubt
    assert assigned.assign("e") == "gpu"


def test_a_trial_waits_in_vain_for_a_kind_that_is_gone_while_another_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assigned = Devices(EITHER)
    _set_nodes(monkeypatch, [GPU_NODE])
    assert assigned.assign("a") == "gpu"
    for nodes, starved in (([GPU_NODE], False), ([HEAD], False), ([CPU_NODE], True), ([CPU_NODE, GPU_NODE], False)):
        _set_nodes(monkeypatch, nodes)
        assert assigned.starved == starved
    _set_nodes(monkeypatch, [CPU_NODE])
    assigned.clear()
    assert not assigned.starved
    assert assigned.assign("a") == "cpu"


def test_equal_trials_ask_ray_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _set_nodes(monkeypatch, [CPU_NODE, GPU_NODE, GPU_NODE])
    requests = [placement(EITHER, device) for device in ("gpu", "cpu", "gpu", "cpu")]
    assert sorted(Counter(requests).values()) == [2, 2]
    _set_nodes(monkeypatch, [CPU_NODE, GPU_NODE, GPU_NODE, CPU_NODE])
    assert [placement(EITHER, device) for device in ("gpu", "cpu")] == requests[:2]
    assert requests[0].bundles == [{"CPU": 1, "GPU": 0.5}]
    assert requests[1].bundles == [{"CPU": 1}] and f"!in({1:056x},{2:056x})" in repr(requests[1])


@pytest.mark.parametrize(
    ("resources", "device", "bundle"),
    [
        (Resources(cpus=2), "cpu", {"CPU": 2}),
        (Resources(cpus=2, any_device=True), "cpu", {"CPU": 2}),
        (Resources(gpus=1), "gpu", {"CPU": 1, "GPU": 1}),
    ],
)
def test_who_asks_for_one_kind_may_be_on_any_node_that_has_it(
    monkeypatch: pytest.MonkeyPatch, resources: Resources, device: str, bundle: dict[str, float]
) -> None:
    _set_nodes(monkeypatch, [CPU_NODE, GPU_NODE])
    request = placement(resources, device)
    assert request.bundles == [bundle] and "node-id" not in repr(request)
