"""A node that is about to leave the cluster: trials save a checkpoint and go on elsewhere."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NoReturn

MARK = "STUDY_LEAVING"
"""The environment variable with the file whose existence says so; deploy/ray-node.sh sets it for all of a node."""


def node_is_leaving() -> bool:
    """Whether this process's node was told to end."""
    mark = os.environ.get(MARK)
    return bool(mark) and Path(mark).exists()


def leave() -> NoReturn:
    """Waits for the node's end, and this process's with it.

    A trial that Ray loses with a node that was drained counts as preempted, and begins again elsewhere from its
    checkpoint. One that ended its own process, or raised an exception, would count as failed.
    """
    while True:
        time.sleep(60)
