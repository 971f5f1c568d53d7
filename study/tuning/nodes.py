"""Waits for the nodes of a Ray cluster: `python -m study.tuning.nodes HOST:PORT COUNT`, within a batch job."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import ray

PATIENCE_SECONDS = 180.0
"""How long a node may take to start Ray from a shared file system that all nodes read at once."""


def wait_for_nodes(address: str, count: int, patience: float = PATIENCE_SECONDS) -> list[str]:
    """Waits until so many nodes have joined, or until patience ends.

    Args:
        address: `HOST:PORT` of the cluster.
        count: Nodes that are to come.
        patience: Seconds.

    Returns:
        The host names of those that are there.
    """
    deadline = time.monotonic() + patience
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        while True:
            nodes: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]
            if len(nodes) >= count or time.monotonic() > deadline:
                return sorted(node["NodeManagerHostname"] for node in nodes)
            time.sleep(0.5)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    names = wait_for_nodes(sys.argv[1], int(sys.argv[2]))
    print(f"Ray has {len(names)} of {sys.argv[2]} nodes: {', '.join(names)}")
