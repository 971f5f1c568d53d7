"""What the axes of a plot show, on paper and on a terminal alike: logarithms or not, and how far they reach."""

from __future__ import annotations

import numpy as np


def use_log(values: np.ndarray, *, spread: float = 3.0) -> bool:
    """Whether a log axis helps: all finite values are positive, the largest at least `spread` times the smallest."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and (finite > 0).all() and finite.max() >= spread * finite.min())


def worth_showing(values: np.ndarray, baseline: float) -> bool:
    """Whether an axis should extend to a baseline: not if that would squeeze the values into a corner."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if low > 0 and baseline > 0:
        room = max(high / low, 10.0) ** 0.4
        return low / room <= baseline <= high * room
    room = 0.6 * max(high - low, abs(high))
    return low - room <= baseline <= high + room
