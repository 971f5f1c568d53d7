"""A node that is about to leave the cluster: trials save a checkpoint and go on elsewhere."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NoReturn

from ray import tune

LEAVING = "leaving"
"""What a trial reports before it waits for its node's end."""
MARK = "STUDY_LEAVING"
"""The environment variable with the file whose existence says so; deploy/ray-node.sh sets it for all of a node."""


def node_is_leaving() -> bool:
    """Whether this process's node was told to end."""
    mark = os.environ.get(MARK)
    return bool(mark) and Path(mark).exists()


def leave() -> NoReturn:
    """Tells the driver, and waits for the node's end, and this process's with it.

    The trial then begins again elsewhere from its checkpoint, and `RungScheduler` does not let that count as a failure.
    If it ended its own process now, it could begin again on this node.
    """
    tune.report({LEAVING: True})
    while True:
        time.sleep(60)
