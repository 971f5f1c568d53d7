"""Where trials fit, and who leaves a Ray that somebody else has joined."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from study.config import UserError
from study.tuning import cluster
from study.tuning.cluster import Cluster, Resources, _signals_wait

ROOT = Path(__file__).parents[2]
HEAD: dict[str, float] = {"memory": 4e9}
CPU_NODE = {"CPU": 2.0}
GPU_NODE = {"CPU": 8.0, "GPU": 1.0}
JOINED = SimpleNamespace(address_info={"session_dir": "/none/session_1"})


def _set_nodes(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]]) -> None:
    alive = [{"Alive": True, "NodeID": f"{number:056x}", "Resources": node} for number, node in enumerate(nodes)]
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
    assert cluster.room(Resources(**wanted)) == slots


@pytest.mark.parametrize(
    ("nodes", "wanted", "words"),
    [
        ([HEAD], {"cpus": 1}, ["add a worker", "0 CPU"]),
        ([HEAD, CPU_NODE, CPU_NODE], {"cpus": 4}, ["--cpus-per-trial 4", "2 CPU"]),
        ([HEAD, CPU_NODE], {"cpus": 1, "gpus": 0.5}, ["--gpus-per-trial 0.5", "0 GPU"]),
        ([GPU_NODE], {"cpus": 1, "gpus": 2}, ["--gpus-per-trial 2", "1 GPU"]),
    ],
)
def test_a_trial_that_fits_nowhere_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]], wanted: dict[str, Any], words: list[str]
) -> None:
    _set_nodes(monkeypatch, nodes)
    with pytest.raises(UserError) as caught:
        cluster._check_room(Resources(**wanted))
    assert all(word in str(caught.value) for word in words)


def test_a_ray_that_was_there_before_is_used_and_left_running(ray_session: None) -> None:
    with Cluster(None, Resources()) as joined:
        joined.join()
        joined.leave()
        joined.wait()
        assert ray.is_initialized()
    assert ray.is_initialized()


def test_ray_is_begun_once_and_left_on_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: calls.append(f"init {options['address']}") or JOINED)
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append(threading.current_thread().name))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _set_nodes(monkeypatch, [CPU_NODE])
    with Cluster(None, Resources()) as joined:
        joined.join()
        joined.join()
        assert joined.is_here
        joined.leave()
        joined.leave()
        joined.wait()
        assert calls == ["init local", "ray-shutdown"]
    assert calls == ["init local", "ray-shutdown"]


def test_ray_is_left_where_no_trial_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: calls.append("init") or JOINED)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    _set_nodes(monkeypatch, [CPU_NODE])
    with pytest.raises(UserError, match="no node of the Ray cluster has room"), Cluster(None, Resources(cpus=3)) as few:
        few.join()
    assert calls == ["init", "shutdown"]


def test_ray_leaves_the_signals_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: Any) -> SimpleNamespace:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return JOINED

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _set_nodes(monkeypatch, [CPU_NODE])
    before = signal.getsignal(signal.SIGTERM)
    with Cluster(None, Resources()) as joined:
        joined.join()
        assert signal.getsignal(signal.SIGTERM) == before


def test_faults_met_a_long_temporary_folder_comes_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: Any) -> None:
        raise OSError("AF_UNIX path length cannot exceed 107 bytes: /long")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(UserError, match="107 bytes: /long; set RAY_TMPDIR to a folder with a short path"):
        Cluster(None, Resources()).join()


@pytest.mark.parametrize("address", [None, "auto"])
def test_faults_met_no_session_folder_of_our_own_ray_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str | None
) -> None:
    session = tmp_path / "session_1"
    (session / "logs").mkdir(parents=True)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: SimpleNamespace(address_info={"session_dir": str(session)}))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    _set_nodes(monkeypatch, [CPU_NODE])
    with Cluster(address, Resources()) as joined:
        joined.join()
        assert session.exists()
    assert session.exists() == (address is not None)


@pytest.mark.parametrize("leads", [False, True])
def test_faults_met_a_signal_to_our_process_group_does_not_reach_ray(leads: bool) -> None:
    code = (
        "import os, subprocess\n"
        "from study.tuning.cluster import _children_in_other_groups\n"
        "before = subprocess.Popen.__init__\n"
        "class Derived(subprocess.Popen): pass\n"
        "started = []\nwith _children_in_other_groups(started):\n"
        "    child = Derived(['sleep', '60'])\n"
        "print(os.getpgid(child.pid) == os.getpgrp(), subprocess.Popen.__init__ is before)\n"
        "child.kill()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, start_new_session=leads
    )
    assert result.stdout.split() == ["False", "True"]


def test_faults_met_signals_are_answered_when_ray_has_started() -> None:
    heard: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append("ours"))
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _signals_wait():
            signal.signal(signal.SIGTERM, lambda number, frame: heard.append("Ray's"))
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            assert heard == []
        assert heard == ["ours"]
        with _signals_wait():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert heard == ["ours", "ours"]  # the second one does not wait
        assert heard == ["ours", "ours"]
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, hangup)
