"""Waiting for the nodes of a cluster; tests/cluster/test_slurm.py waits for real ones."""

from __future__ import annotations

from typing import Any

import pytest

from study.tuning import nodes


class FakeRay:
    """A cluster in which another node joins with every look."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.looks = 0

    def init(self, address: str, **_: Any) -> None:
        self.calls.append(f"init {address}")

    def nodes(self) -> list[dict[str, Any]]:
        self.looks += 1
        joined = [{"Alive": True, "NodeManagerHostname": f"node{number}"} for number in range(self.looks, 0, -1)]
        return [*joined, {"Alive": False, "NodeManagerHostname": "dead"}]

    def shutdown(self) -> None:
        self.calls.append("shutdown")


@pytest.mark.parametrize(
    ("patience", "names"), [(1000.0, ["node1", "node2", "node3"]), (-1.0, ["node1"])], ids=["all come", "time is up"]
)
def test_nodes_are_waited_for_with_a_bound(monkeypatch: pytest.MonkeyPatch, patience: float, names: list[str]) -> None:
    ray = FakeRay()
    monkeypatch.setattr(nodes, "ray", ray)
    assert nodes.wait_for_nodes("10.0.0.1:6379", 3, patience) == names
    assert ray.calls == ["init 10.0.0.1:6379", "shutdown"]
