"""A node that is about to leave the cluster: trials save a checkpoint and go on elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

MARK = "STUDY_LEAVING"
"""The environment variable with the file whose existence says so; deploy/ray-node.sh sets it for all of a node."""


def node_is_leaving() -> bool:
    """Whether this process's node was told to end."""
    mark = os.environ.get(MARK)
    return bool(mark) and Path(mark).exists()


def leave() -> None:
    """Ends this trial's process at once.

    Ray drains the node. So it does not count this as a failure, and begins the trial again on another
    node, where it continues from the checkpoint. An exception would reach Ray as an error of the trial.
    """
    os._exit(0)
