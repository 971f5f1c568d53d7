"""The rules of the front: which trials may join it, which of those are on it, its knee and its hypervolume.

The search and its results share these rules. NumPy alone, so importing this module costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from study.config import EXTRA_ORIGINS

WEIGHT_TOLERANCE = 1e-3
"""A trial has reached its full weight when it misses at most this share of it: room for rounding, no more."""
CLEAR_DEPTH = 0.25
"""Depth from which a knee is clear, see `depths`. From here on another seed of the feature network moves the knee in
about a tenth of resampled studies (`benchmarks.recommendation`), and it seldom has twice the best score."""


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


def scaled(front: np.ndarray) -> np.ndarray:
    """A front's minimised objectives [m, k], each scaled so that its best value is 0 and its worst 1.

    Each is taken as a logarithm first: what counts is a factor, not a difference (an MSE spans .01 to .07 while an FID
    spans 7 to 400). An objective that is not positive throughout is scaled without the logarithm.
    """
    values = _logs(front)
    low, high = values.min(axis=0), values.max(axis=0)
    return (values - low) / np.where(high > low, high - low, 1.0)


def depths(front: np.ndarray) -> np.ndarray:
    """How far each point of a front lies below the chord between its ends, [m]: 0 on the chord, 1 for a corner.

    The chord is `sum of scaled objectives = 1`; with k > 2 objectives it is the plane through the k corners. A point
    above it has a negative depth.

    Args:
        front: Minimised objectives of the points on the front, [m, k], m at least 1, finite.
    """
    return np.round(1 - scaled(front).sum(axis=1), 12)  # sums that differ in the last bit are equal


def knee(front: np.ndarray) -> int:
    """The point of a front past which either objective costs the most of the other: the furthest below the chord.

    (I. Das, "On characterizing the 'knee' of the Pareto curve based on Normal-Boundary Intersection", Structural
    Optimization 18, 1999; the same as the "Kneedle" of Satopää et al., 2011.)

    Args:
        front: As in `depths`.

    Returns:
        Row of the knee. Of points equally far below the chord (a front of two has only its ends) the one with the
        lowest product of positive objectives, then the first.
    """
    positive = (np.asarray(front) > 0).all(axis=0)
    return int(np.lexsort((_logs(front)[:, positive].sum(axis=1), -depths(front)))[0])


def compromise(front: np.ndarray) -> int:
    """The point whose worst objective is the least worse than that objective's best: minimax of value / best.

    Unlike the knee it may be an end of the front, and does not move when an end is added that no one would take.

    Args:
        front: As in `depths`. If an objective is not positive throughout, no factors compare, and scaled values count.

    Returns:
        Row of the point; of equal ones the one with the smallest sum, then the first.
    """
    logs = _logs(front)
    given_up = logs - logs.min(axis=0) if (np.asarray(front) > 0).all() else scaled(front)
    given_up = np.round(given_up, 12)
    return int(np.lexsort((given_up.sum(axis=1), given_up.max(axis=1)))[0])


def has_clear_knee(front: np.ndarray) -> bool:
    """Whether the knee of a front [m, k] is as deep as `CLEAR_DEPTH`."""
    return bool(depths(front).max() >= CLEAR_DEPTH)


def recommended(front: np.ndarray) -> int:
    """The point of a front [m, k] to recommend: its knee if that is clear, else the compromise."""
    return knee(front) if has_clear_knee(front) else compromise(front)


def _logs(front: np.ndarray) -> np.ndarray:
    """The logarithm of each objective [m, k] that is positive throughout, and the others as they are."""
    front = np.asarray(front, dtype=np.float64)
    positive = (front > 0).all(axis=0)
    return np.where(positive, np.log(np.where(positive, front, 1.0)), front)


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
