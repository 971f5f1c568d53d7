from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from optuna._hypervolume import compute_hypervolume  # private to Optuna: an oracle for tests alone

from study.results import pareto

# Few distinct values, so that ties and duplicates are common.
OBJECTIVES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0, np.nan, np.inf]),
)


def brute_force(values: np.ndarray) -> list[bool]:
    def dominates(a: np.ndarray, b: np.ndarray) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))

    finite = [bool(np.isfinite(row).all()) for row in values]
    return [
        ok and not any(other_ok and dominates(other, row) for other, other_ok in zip(values, finite, strict=True))
        for row, ok in zip(values, finite, strict=True)
    ]


@given(OBJECTIVES)
def test_front_equals_brute_force(values: np.ndarray) -> None:
    assert pareto.non_dominated(values).tolist() == brute_force(values)


@given(OBJECTIVES, st.randoms())
def test_front_does_not_depend_on_the_order(values: np.ndarray, random) -> None:
    order = list(range(len(values)))
    random.shuffle(order)
    assert pareto.non_dominated(values[order]).tolist() == pareto.non_dominated(values)[order].tolist()


def test_duplicates_stay_and_nan_never_enters() -> None:
    values = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [np.nan, 0.0], [0.0, np.inf]])
    assert pareto.non_dominated(values).tolist() == [True, True, True, False, False, False]
    assert pareto.non_dominated(np.empty((0, 2))).tolist() == []


def test_front_of_a_thousand_random_points() -> None:
    values = np.random.default_rng(0).random((1000, 3)).round(2)
    assert pareto.non_dominated(values).tolist() == brute_force(values)


def test_knee_is_furthest_below_the_chord_in_log_space() -> None:
    front = np.array([[0.01, 100.0], [0.012, 30.0], [0.02, 12.0], [0.04, 10.0]])
    log = np.log(front)
    unit = (log - log.min(axis=0)) / np.ptp(log, axis=0)
    ends = unit[-1] - unit[0]
    below = [float(ends[0] * (p - unit[0])[1] - ends[1] * (p - unit[0])[0]) for p in unit]  # cross product
    assert pareto.knee(front) == int(np.argmin(below)) == 2


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ([[1.0, 1.0]], 0),
        ([[1.0, 2.0], [2.0, 1.0]], 0),
        ([[1.0, 4.0], [1.1, 1.0]], 1),  # only ends: the lowest product
        ([[1.0, 8.0], [1.1, 2.0], [8.0, 1.0]], 1),
        ([[1.0, 8.0], [7.9, 7.9], [8.0, 1.0]], 0),  # nothing below the chord: the first end
        ([[-1.0, 1.0], [-0.9, -0.5], [3.0, -1.0]], 1),  # not positive: scaled without the logarithm
        ([[2.0, 5.0], [2.0, 5.0]], 0),
    ],
)
def test_knee_of_special_fronts(front: list[list[float]], expected: int) -> None:
    assert pareto.knee(np.array(front)) == expected


def test_depth_is_zero_on_the_chord_and_one_in_the_corner() -> None:
    front = np.array([[1.0, 100.0], [10.0, 10.0], [100.0, 1.0]])
    assert pareto.depths(front).tolist() == [0.0, 0.0, 0.0]
    corner = np.array([[1.0, 100.0], [1 + 1e-9, 1 + 1e-9], [100.0, 1.0]])
    assert pareto.depths(corner) == pytest.approx([0, 1, 0], abs=1e-8)
    halfway = np.array([[1.0, 16.0], [2.0, 2.0], [16.0, 1.0]])  # log 2 / log 16 = 1/4 in both
    assert pareto.depths(halfway) == pytest.approx([0, 0.5, 0])
    assert pareto.depths(np.array([[1.0, 1.0, 1.0]])).tolist() == [1.0]


def test_a_known_front_jumps_to_its_far_end_when_the_knee_is_shallow() -> None:
    """The real front of a digits study: its deepest point has 4.5 times the best FID, .05 below the chord."""
    front = np.array([[0.0085, 7.0], [0.0091, 5.17], [0.0106, 4.67], [0.0128, 2.04], [0.0132, 1.15]])
    assert pareto.knee(front) == 1 and not pareto.has_clear_knee(front)
    assert pareto.recommended(front) == pareto.compromise(front) == 4
    longer = np.vstack([front, [0.0223, 1.14]])
    assert pareto.recommended(longer) == 4  # an end that no one would take changes nothing


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ([[1.0, 4.0], [1.1, 1.0]], 1),
        ([[1.0, 1.5], [2.0, 1.0]], 0),
        ([[1.0, 9.0], [2.9, 3.1], [9.0, 1.0]], 1),
        ([[-1.0, 1.0], [-0.9, 0.5], [3.0, 0.1]], 1),  # not positive: by shares of the range
    ],
)
def test_the_compromise_is_the_least_worse(front: list[list[float]], expected: int) -> None:
    assert pareto.compromise(np.array(front)) == expected


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=12), st.floats(0.1, 10))
def test_knee_does_not_depend_on_units(points: list[tuple[float, float]], unit: float) -> None:
    values = np.array(points)
    front = values[pareto.non_dominated(values)]
    scaled = front * np.array([unit, 1.0])
    first, second = pareto.knee(front), pareto.knee(scaled)
    if first != second:  # only where two points are equally far below but for rounding
        low = np.log(front) - np.log(front).min(axis=0)
        sums = (low / np.maximum(low.max(axis=0), 1e-300)).sum(axis=1)
        assert sums[first] == pytest.approx(sums[second], abs=1e-6)


@given(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=4), elements=st.floats(-5, 5)),
)
def test_hypervolume_equals_optunas(values: np.ndarray) -> None:
    reference = np.array([3.0, 4.0, 2.0, 1.0])[: values.shape[1]]
    inside = values[(values < reference).all(axis=1)]
    expected = compute_hypervolume(inside, reference) if len(inside) else 0.0
    assert pareto.hypervolume(values, reference) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_hypervolume_of_a_front_equals_optunas(objectives: int) -> None:
    values = np.abs(np.random.default_rng(objectives).normal(size=(40, objectives)))
    values = 1 - values / np.linalg.norm(values, axis=1, keepdims=True)  # on a sphere: none dominates another
    reference = np.full(objectives, 1.1)
    assert pareto.non_dominated(values).all()
    assert pareto.hypervolume(values, reference) == pytest.approx(compute_hypervolume(values, reference))


def test_hypervolume_ignores_what_is_not_finite() -> None:
    values = np.array([[1.0, 1.0], [np.nan, 0.0], [0.0, np.inf]])
    assert pareto.hypervolume(values, np.array([2.0, 3.0])) == 2.0


@pytest.mark.parametrize(
    ("outcome", "missing_weight", "origin", "joins"),
    [
        ("completed", 0.0, "search", True),
        ("completed", 0.0, "reference", True),
        ("completed", np.nan, "grid", True),  # no weight at all
        ("completed", 5e-4, "first", True),  # rounding in a schedule of one's own
        ("completed", 2e-3, "search", False),
        ("stopped", 0.0, "search", False),
        ("failed", 0.0, "search", False),
        ("running", 0.0, "search", False),
        ("completed", 0.0, "replicate", False),
        ("completed", 0.0, "retrain", False),
    ],
)
def test_which_trials_may_join_the_front(outcome: str, missing_weight: float, origin: str, joins: bool) -> None:
    assert pareto.may_join_front(outcome, missing_weight, origin) == joins


def test_log_scaled_takes_the_logarithm_of_the_marked_objectives() -> None:
    values = pareto.log_scaled(np.array([[np.e, np.e], [0.0, -1.0]]), np.array([True, False]))
    assert values.tolist() == [[1.0, np.e], [np.log(1e-12), -1.0]]


def test_minimised_negates_what_is_maximised() -> None:
    assert pareto.minimised(np.array([[1.0, 2.0]]), ["minimize", "maximize"]).tolist() == [[1.0, -2.0]]
