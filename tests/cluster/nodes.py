"""`python -m tests.cluster.nodes KIND...`: a Ray cluster of some nodes as processes of this machine.

A head without CPUs and nodes of three kinds: `cpu` has one CPU; `gpu` has four and a GPU, which Ray takes our word for;
`gpus` has two of each.
It prints the cluster's address, obeys the lines `add KIND` and `remove KIND`, each answered with Ray's id of the node,
and ends when its input does.
"""

from __future__ import annotations

import sys
from typing import Any

from ray.cluster_utils import Cluster

STORE_BYTES = 100_000_000
KINDS: dict[str, dict[str, Any]] = {
    "cpu": {"num_cpus": 1},
    "gpu": {"num_cpus": 4, "num_gpus": 1},
    "gpus": {"num_cpus": 2, "num_gpus": 2},
}


def main() -> None:
    """Starts the nodes and waits."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES})
    try:
        nodes = [(kind, cluster.add_node(**KINDS[kind], object_store_memory=STORE_BYTES)) for kind in sys.argv[1:]]
        cluster.wait_for_nodes()
        print(cluster.address, flush=True)
        for line in sys.stdin:
            what, kind = line.split()
            if what == "add":
                nodes.append((kind, cluster.add_node(**KINDS[kind], object_store_memory=STORE_BYTES)))
                node = nodes[-1][1]
            else:
                index = max(index for index, (other, _) in enumerate(nodes) if other == kind)
                node = nodes.pop(index)[1]
                cluster.remove_node(node, allow_graceful=False)
            print(node.node_id, flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
