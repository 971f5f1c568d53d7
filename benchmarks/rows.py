"""How every benchmark prints what it found: rows of `name value bar ok|short`, and an exit status."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: What was measured, with its unit.
        value: The figure.
        bar: The least value that will do, or the most where `at_most`; None where there is none to reach.
        at_most: The bar is an upper one.
    """

    name: str
    value: float
    bar: float | None = None
    at_most: bool = False

    @property
    def ok(self) -> bool:
        """The bar is reached, or there is none."""
        if self.bar is None:
            return True
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    def __str__(self) -> str:
        bar = "-" if self.bar is None else f"{'<=' if self.at_most else '>='}{self.bar:g}"
        return f"{self.name:<44} {self.value:>12.4g} {bar:>8} {'ok' if self.ok else 'short'}"


def print_rows(rows: Sequence[Row]) -> int:
    """Prints the rows and gives the exit status: 1 when one falls short."""
    for row in rows:
        print(row, flush=True)
    return 0 if all(row.ok for row in rows) else 1


def interleaved(first: Callable[[], float], second: Callable[[], float], pairs: int) -> tuple[float, float, float]:
    """Runs two measurements by turns, so that a noisy machine is noisy to both.

    Args:
        first: Gives a rate.
        second: Gives the rate it is compared with.
        pairs: How often; the order within a pair alternates.

    Returns:
        Median of the first, median of the second, and the median of their ratio pair by pair.
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
