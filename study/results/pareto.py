"""Which trials are worth choosing between, and which one to take when nothing else is said. NumPy only."""

from __future__ import annotations

import numpy as np


def minimised(values: np.ndarray, directions: list[str]) -> np.ndarray:
    """Objectives [n, k] with the maximised ones negated, so that low is good throughout."""
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])
    return np.asarray(values, dtype=np.float64) * signs


def non_dominated(values: np.ndarray) -> np.ndarray:
    """Marks the Pareto front.

    Args:
        values: Objectives to minimise, [n, k].

    Returns:
        Boolean [n]. A row is on the front if no other row is at least as good in every objective and better in one; so
        equal rows are all on it or all off it. A row that holds NaN or an infinity is never on it and dominates none.
    """
    values = np.asarray(values, dtype=np.float64)
    front = np.asarray(np.isfinite(values).all(axis=1))
    for index in np.flatnonzero(front):
        others = values[front]  # without those found dominated: whatever dominates them dominates all that they do
        front[index] = not bool(((others <= values[index]).all(axis=1) & (others < values[index]).any(axis=1)).any())
    return front


def knee(front: np.ndarray) -> int:
    """The point of a front past which either objective costs the most of the other.

    Each objective is taken as a logarithm (what counts is a factor, not a difference: an MSE spans .01 to .07 while an
    FID spans 7 to 400) and scaled so that its best value on the front is 0 and its worst 1. The knee is the point
    furthest below the chord between the ends of the front, here `sum of scaled objectives = 1`; with k > 2 objectives
    the chord is the plane through the k corners. (I. Das, "On characterizing the 'knee' of the Pareto curve based on
    Normal-Boundary Intersection", Structural Optimization 18, 1999; the same as the "Kneedle" of Satopää et al., 2011.)

    Args:
        front: Minimised objectives of the points on the front, [m, k], m at least 1, finite. An objective that is not
            positive throughout is scaled without the logarithm.

    Returns:
        Row of the knee. Of points equally far below the chord (a front of two has only its ends) the one with the
        lowest product of positive objectives, then the first.
    """
    front = np.asarray(front, dtype=np.float64)
    positive = (front > 0).all(axis=0)
    logs = np.log(np.where(positive, front, 1.0))
    scaled = np.where(positive, logs, front)
    low, high = scaled.min(axis=0), scaled.max(axis=0)
    scaled = (scaled - low) / np.where(high > low, high - low, 1.0)
    order = np.lexsort(
        (logs.sum(axis=1), np.round(scaled.sum(axis=1), 12))
    )  # rounded: equal but for the last bit is equal
    return int(order[0])


def hypervolume(values: np.ndarray, reference: np.ndarray) -> float:
    """Area that two minimised objectives dominate, up to a reference point.

    Optuna has this for any number of objectives, but only in a private module, so the two-dimensional sweep is here
    and Optuna's serves the tests.

    Args:
        values: [n, 2]; rows beyond the reference point or not finite add nothing.
        reference: [2].
    """
    values = np.asarray(values, dtype=np.float64)
    inside = values[np.isfinite(values).all(axis=1) & (values < reference).all(axis=1)]
    area, height = 0.0, float(reference[1])
    for x, y in inside[np.lexsort((inside[:, 1], inside[:, 0]))]:
        if y < height:
            area += (float(reference[0]) - x) * (height - y)
            height = float(y)
    return area
