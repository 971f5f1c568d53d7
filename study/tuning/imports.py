"""Quicker imports of large libraries, without the garbage collector."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Collects no garbage within the block, and exempts everything that exists at its end from collection.

    torch, Ray and pandas create a million lasting objects. Searching them for garbage took a fifth to a quarter of the
    import time (`benchmarks.startup`). Blocks may be nested.
    """
    outermost = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if outermost:
            gc.enable()
