"""`python -m tests.cluster.two_nodes`: a Ray cluster of three nodes as processes of this machine.

A head without CPUs and two nodes with one each. It prints the cluster's address, removes a node when a line comes in,
and ends when its input does.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

STORE_BYTES = 100_000_000


def main() -> None:
    """Starts the nodes and waits."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES})
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
        cluster.wait_for_nodes()
        print(cluster.address, flush=True)
        for _ in sys.stdin:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            print("removed", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
