"""The rules of the front: which trials may join it, which of those are on it, its knee and its hypervolume.

The search and its results share these rules. NumPy alone, so importing this module costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from study.config import EXTRA_ORIGINS

WEIGHT_TOLERANCE = 1e-3
"""A trial has reached its full weight when it misses at most this share of it: room for rounding, no more."""


def is_comparable(outcome: str, missing_weight: float) -> bool:
    """Whether a trial was trained to its end, under its full weight there: otherwise it trained something else.

    Args:
        outcome: `completed`, `stopped`, `failed`, or not ended yet.
        missing_weight: Share of the full weight that its schedule had not reached at its last epoch; NaN if unknown, or
            if the trial has no weight.
    """
    return outcome == "completed" and not missing_weight > WEIGHT_TOLERANCE


def may_join_front(outcome: str, missing_weight: float, origin: str) -> bool:
    """Whether a trial with finite objectives may join the front: comparable, and a trial of the search itself.

    Replicates and retrained trials stay out: the best of several seeds would win by luck, and longer training is no
    result of the search.
    """
    return is_comparable(outcome, missing_weight) and origin not in EXTRA_ORIGINS


def minimised(values: np.ndarray, directions: Iterable[str]) -> np.ndarray:
    """Objectives [n, k] with the maximised ones negated, so that low is good throughout."""
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])
    return np.asarray(values, dtype=np.float64) * signs


def log_scaled(values: np.ndarray, logarithmic: np.ndarray) -> np.ndarray:
    """Minimised objectives [n, k] as a hypervolume counts them: the logarithm of the marked ones (boolean [k])."""
    return np.where(logarithmic, np.log(np.maximum(values, 1e-12)), values)


def dominates(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether `first` is at least as good in every objective and better in one.

    Args:
        first: Minimised objectives, [..., k].
        second: The same; the leading axes broadcast.

    Returns:
        Boolean, the broadcast leading axes.
    """
    return np.asarray((first <= second).all(axis=-1) & (first < second).any(axis=-1))


def non_dominated(values: np.ndarray) -> np.ndarray:
    """Marks the Pareto front.

    Args:
        values: Objectives to minimise, [n, k].

    Returns:
        Boolean [n]. Equal rows are all on the front or all off it. A row that holds NaN or an infinity is never on it
        and dominates none.
    """
    values = np.asarray(values, dtype=np.float64)
    front = np.asarray(np.isfinite(values).all(axis=1))
    for index in np.flatnonzero(front):
        # A row found dominated can be left out: whatever dominates it dominates all that it does.
        front[index] = not dominates(values[front], values[index]).any()
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
    height = np.round(scaled.sum(axis=1), 12)  # sums that differ in the last bit are equal
    return int(np.lexsort((logs.sum(axis=1), height))[0])


def hypervolume(values: np.ndarray, reference: np.ndarray) -> float:
    """Volume that minimised objectives dominate, up to a reference point.

    By slicing objectives off until two are left, O(n^(k-1)). Optuna has this only in a private module.

    Args:
        values: [n, k]; rows that are not finite, or not below the reference point everywhere, add nothing.
        reference: [k].
    """
    values = np.asarray(values, dtype=np.float64)
    inside = values[np.isfinite(values).all(axis=1) & (values < reference).all(axis=1)]
    return _volume(inside, np.asarray(reference, dtype=np.float64)) if len(inside) else 0.0


def _volume(points: np.ndarray, reference: np.ndarray) -> float:
    """The volume of points [n, k] that all lie below the reference point [k]; n at least 1."""
    if len(reference) == 1:
        return float(reference[0] - points.min())
    points = points[np.argsort(points[:, 0], kind="stable")]
    if len(reference) == 2:
        lowest = np.minimum.accumulate(points[:, 1])
        return float((reference[0] - points[:, 0]) @ -np.diff(lowest, prepend=reference[1]))
    widths = np.diff(points[:, 0], append=reference[0])  # of slices; the points up to its own cut each of them
    return sum(w * _volume(points[: i + 1, 1:], reference[1:]) for i, w in enumerate(widths.tolist()) if w)
