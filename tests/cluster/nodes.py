"""`python -m tests.cluster.nodes COUNT`: a Ray cluster of some nodes as processes of this machine.

A head without CPUs and nodes with one each. It prints the cluster's address, obeys the lines `add` and `remove`, which
it repeats when it has, and ends when its input does.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

STORE_BYTES = 100_000_000


def main() -> None:
    """Starts the nodes and waits."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES})
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(int(sys.argv[1]))]
        cluster.wait_for_nodes()
        print(cluster.address, flush=True)
        for line in sys.stdin:
            if line == "add\n":
                nodes.append(cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))
            else:
                cluster.remove_node(nodes.pop(), allow_graceful=False)
            print(line, end="", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
