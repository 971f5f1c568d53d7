"""The memory that a process holds for itself, as Linux counts it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

_SAMPLE_SECONDS = 0.005


@contextlib.contextmanager
def watched_memory() -> Iterator[dict[str, int]]:
    """Notes in the block, as `peak`, the most bytes that this process held and shared with no other; Linux alone."""
    held: dict[str, int] = {}
    over = threading.Event()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while True:
                held["peak"] = max(held.get("peak", 0), own_memory())
                if over.wait(_SAMPLE_SECONDS):
                    return

    thread = threading.Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        over.set()
        thread.join()


def own_memory(process: int | str = "self") -> int:
    """Bytes that a process holds and shares with no other, such as Ray's object store.

    Raises:
        OSError: The system does not tell, or there is no such process.
    """
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise OSError("no RssAnon")
