"""How every benchmark reports: rows of `name value bar ok|short`, and an exit status."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable


@dataclasses.dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        name: What was measured, with its unit.
        value: The result.
        bar: The least acceptable value, or the largest with `at_most`; None if every value is.
        at_most: Whether the bar is an upper bound.
    """

    name: str
    value: float
    bar: float | None = None
    at_most: bool = False

    @property
    def ok(self) -> bool:
        """Whether the bar is reached, or there is none."""
        if self.bar is None:
            return True
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    def __str__(self) -> str:
        bar = "-" if self.bar is None else f"{'<=' if self.at_most else '>='}{self.bar:g}"
        return f"{self.name:<44} {self.value:>12.4g} {bar:>8} {'ok' if self.ok else 'short'}"


def print_rows(rows: Iterable[Row]) -> int:
    """Prints each row when it comes and returns the exit status: 1 if one misses its bar."""
    status = 0
    for row in rows:
        print(row, flush=True)
        status |= not row.ok
    return status


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(first: Callable[[], float], second: Callable[[], float], pairs: int) -> tuple[float, float, float]:
    """Runs two measurements alternately, so that a noisy machine affects both.

    Args:
        first: Measures a rate.
        second: Measures the rate to compare with.
        pairs: Number of repetitions; the order within a pair alternates.

    Returns:
        The median of the first, of the second, and of their ratio within pairs.
    """
    rates = []
    for pair in range(pairs):
        if pair % 2:
            other = second()
            rates.append((first(), other))
        else:
            rates.append((first(), second()))
    ours, theirs = zip(*rates, strict=True)
    ratios = [one / other for one, other in rates]
    return statistics.median(ours), statistics.median(theirs), statistics.median(ratios)
