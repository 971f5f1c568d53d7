"""Imports of what is large, without the garbage collector's help."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Within the block no garbage is collected, and what is there at its end is never looked at again.

    torch, Ray and pandas make a million objects that all stay: looking for garbage among them again and again took a
    fifth of the time that their import takes (`benchmarks.startup`). Blocks may lie within one another.
    """
    outermost = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if outermost:
            gc.enable()
