"""Times short pieces of work on a machine that others may use too."""

from __future__ import annotations

import time
from collections.abc import Callable


class Stopwatch:
    """Times pieces of work.

    How long a short piece waits for a processor is a matter of chance. So a piece on one thread is timed by the
    processor's time, and what all pieces together waited is shared out by `slowdown`.

    Args:
        by_processor: The work uses one thread of this process alone; otherwise pieces are timed by the clock.
    """

    def __init__(self, *, by_processor: bool) -> None:
        self._by_processor = by_processor
        self._clock = self._processor = 0.0

    def __call__(self, work: Callable[[], object]) -> float:
        """Seconds of some work, to be multiplied by `slowdown` in the end."""
        clock, processor = time.perf_counter(), time.process_time()
        work()
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
        self._clock += clock
        self._processor += processor
        return processor if self._by_processor else clock

    @property
    def slowdown(self) -> float:
        """Seconds by the clock in a second of what was returned, over all pieces."""
        return self._clock / self._processor if self._by_processor and self._processor > 0 else 1.0
