"""What is left out of the recommendation, the three picks, and how often noise would change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.results import pareto
from study.results.choice import Choice, chosen_from
from study.results.recommendation import LeftOut, Pick, left_out_of, nearly_best, picks_of, share_changed

STEEP = [[0.0085, 7.0], [0.0091, 5.17], [0.0106, 4.67], [0.0128, 2.04], [0.0132, 1.15]]
"""A real front (digits, MSE and FID), from its best reconstruction to its best samples."""
POINTS = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=12, unique=True)


def front_of(points: list[tuple[float, float]]) -> np.ndarray:
    values = np.array(points)
    return values[pareto.non_dominated(values)]


def test_nearly_the_best_gives_up_least_of_the_other() -> None:
    front = np.array(STEEP)
    # .0091 is 7 % worse than .0085 and has the better FID; .0106 is 25 % worse.
    assert nearly_best(front, 0) == 1
    assert nearly_best(front, 1) == 4
    front = np.array([[1.0, 9.0], [1.1, 5.0], [1.11, 4.0], [2.0, 1.09], [3.0, 1.0]])
    assert (nearly_best(front, 0), nearly_best(front, 1)) == (1, 3)


def test_nearly_the_best_of_a_maximised_objective() -> None:
    precision = np.array([0.90, 0.82, 0.80])  # 10 % below .90 is .81
    front = np.stack([-precision, [3.0, 2.0, 1.0]], axis=1)
    assert nearly_best(front, 0) == 1


def test_nearly_the_best_of_three_objectives_minds_the_worst_of_the_others() -> None:
    front = np.array([[1.0, 1.0, 100.0], [1.05, 10.0, 10.0], [10.0, 100.0, 1.0]])
    assert nearly_best(front, 0) == 1


def test_the_picks_are_rows_of_the_study() -> None:
    values = np.array([[9.0, 9.0], *STEEP])
    rows = np.arange(1, 6)
    assert picks_of(values, rows, rows, (0,), rows) == (Pick(5, None), Pick(2, 0), Pick(5, 1))
    none = np.arange(0)
    assert picks_of(values, none, none, (0,), none) == ()


def test_a_method_that_is_not_made_for_the_prior_shapes_the_knee_and_is_not_picked_for_its_samples() -> None:
    values = np.array([[1.0, 90.0], [1.2, 20.0], [8.0, 9.0], [9.0, 8.9]])
    eligible = np.ones(4, bool)

    def chosen(*unmade: int) -> tuple[list[int], int | None, list[int]]:
        choice = chosen_from(values, eligible, {}, unmade=np.isin(np.arange(4), unmade))
        assert [out.metric for out in choice.left_out] == ["method"] * (len(unmade) if len(unmade) < 4 else 0)
        assert choice.front.tolist() == [0, 1, 2, 3]
        return choice.candidates.tolist(), choice.recommended, [pick.row for pick in choice.picks[1:]]

    assert chosen() == ([0, 1, 2, 3], 1, [0, 2])
    assert chosen(0) == ([0, 1, 2, 3], 1, [0, 2])  # the plain AE is the end that makes the other one a knee
    assert chosen(2) == ([0, 1, 2, 3], 1, [0, 3])
    assert chosen(0, 1)[0] == [2, 3] and chosen(0, 1)[1] in (2, 3)
    assert chosen(0, 1, 2, 3) == chosen()


@given(POINTS, st.sampled_from([0.01, 0.5, 8.0]), st.randoms())
def test_units_and_the_order_of_trials_do_not_matter(points: list[tuple[float, float]], unit: float, random) -> None:
    values = np.array(points)
    picked = values[[pick.row for pick in _chosen(values).picks]]
    order = list(range(len(values)))
    random.shuffle(order)
    assert (values[order][[pick.row for pick in _chosen(values[order]).picks]] == picked).all()
    front = front_of(points)
    assert pareto.depths(front * [1.0, unit]) == pytest.approx(pareto.depths(front), abs=1e-9)
    again = share_changed(values[order], np.ones(len(values), bool), np.array([0.0, 0.04]))
    assert share_changed(values, np.ones(len(values), bool), np.array([0.0, 0.04])) == again


def _chosen(values: np.ndarray, **diversity: np.ndarray) -> Choice:
    return chosen_from(values, np.ones(len(values), bool), diversity)


def test_without_noise_nothing_changes_and_with_it_what_lies_close_does() -> None:
    values, members = np.array([[1.0, 100.0], [2.0, 3.0], [2.02, 2.97], [9.0, 1.0]]), np.ones(4, bool)
    assert share_changed(values, members, np.zeros(2)) == 0
    assert 0.2 < share_changed(values, members, np.array([0.0, 0.1])) < 0.8
    apart = np.array([[1.0, 100.0], [2.0, 3.0], [9.0, 1.0]])
    assert share_changed(apart, np.ones(3, bool), np.array([0.0, 0.1])) == 0
    assert share_changed(values, np.zeros(4, bool), np.array([0.0, 0.1])) == 0


def test_the_share_of_changes_is_that_of_a_known_probability() -> None:
    """Equal reconstruction: the recommended trial is the one with the lower score, so normal statistics apply."""
    values, noise = np.array([[1.0, 1.0], [1.0, 1.1]]), 0.1
    expected = 1 - _normal(np.log(1.1) / (noise * 2))  # two trials, measured twice
    assert share_changed(values, np.ones(2, bool), np.array([0.0, noise])) == pytest.approx(expected, abs=0.06)


def _normal(value: float) -> float:
    from scipy.stats import norm

    return float(norm.cdf(value))


def test_samples_that_are_all_alike_are_left_out_of_the_picks_and_stay_on_the_front() -> None:
    values = np.array([[0.5, 2.0], [1.0, 1.5], [2.0, 1.2], [3.0, 1.0], [4.0, 4.0]])
    coverage = np.array([0.1, 0.9, 0.85, 0.8, 0.75])
    choice = _chosen(values, coverage=coverage)
    assert [(trial.row, trial.metric, trial.value) for trial in choice.left_out] == [(0, "coverage", 0.1)]
    assert choice.front.tolist() == [0, 1, 2, 3]
    assert 0 not in {pick.row for pick in choice.picks if pick.objective != 0}
    assert Pick(0, 0) in choice.picks  # its samples do not make its reconstructions worse


def test_a_trial_that_a_left_out_one_dominates_can_be_picked() -> None:
    values = np.array([[1.0, 1.0], [1.2, 1.2], [2.0, 2.0], [3.0, 3.0], [0.5, 5.0]])
    choice = _chosen(values, precision=np.array([0.1, 0.9, 0.8, 0.9, 0.9]), coverage=np.full(5, np.nan))
    assert (choice.front.tolist(), choice.candidates.tolist()) == ([4, 0], [4, 1])


@pytest.mark.parametrize(
    "coverage",
    [
        [0.80, 0.96, 0.96, 0.96],  # the worst, but not clearly below
        [0.1, 0.1, 0.1, 0.1],
        [0.1, np.nan, np.nan, 0.9],  # too few have been measured
        [np.nan] * 4,
    ],
)
def test_a_trial_is_not_left_out_without_cause(coverage: list[float]) -> None:
    assert left_out_of({"coverage": np.array(coverage)}, np.ones(4, bool)) == ()


def test_no_trial_is_left_out_if_none_would_be_left() -> None:
    completed = np.array([True, False, False, False])
    assert left_out_of({"coverage": np.array([0.1, 0.9, 0.9, 0.9])}, completed) == ()
    precision, coverage = np.array([0.1, 0.9, 0.9, 0.9]), np.array([0.9, 0.1, 0.9, 0.9])
    found = left_out_of({"precision": precision, "coverage": coverage}, np.ones(4, bool))
    assert [(trial.row, trial.metric) for trial in found] == [(0, "precision"), (1, "coverage")]


def test_the_role_of_the_recommended_trial() -> None:
    assert _chosen(np.array([[1.0, 1.0], [2.0, 2.0]])).role == "best"
    assert _chosen(np.array([[1.0, 10.0], [1.2, 1.3], [10.0, 1.0]])).role == "knee"
    flat = _chosen(np.array([[1.0, 10.0], [3.0, 3.2], [10.0, 1.0]]))
    assert (flat.role, flat.recommended) == ("compromise", 1)
    lonely = np.array([[1.0, 1.0], [1.1, 1.1], [2.0, 2.0], [2.0, 3.0]])
    alone = _chosen(lonely, coverage=np.array([0.1, 0.9, 0.9, 0.9]))  # the only one left does not stand on the front
    assert (alone.role, alone.recommended, alone.front.tolist()) == ("compromise", 1, [0])
    empty = _chosen(np.empty((0, 2)))
    assert (empty.recommended, empty.depth, empty.picks) == (None, 0.0, ())


def test_a_trial_that_copies_is_left_out_whatever_its_coverage() -> None:
    completed = np.array([True, True, True, False])
    copies = np.array([0.01, 0.8, np.nan, 1.0])
    assert left_out_of({}, completed, copies) == (LeftOut(1, "val/copies", 0.8),)
    assert left_out_of({}, completed, np.full(4, 0.05)) == ()


def test_no_copier_wins_because_the_honest_trial_is_poor_and_if_all_copy_none_is_left_out() -> None:
    completed, coverage = np.ones(4, bool), {"val/coverage": np.array([0.1, 0.9, 0.9, 0.9])}
    found = left_out_of(coverage, completed, np.array([0.0, 0.8, 0.9, 1.0]))
    assert [out.row for out in found] == [1, 2, 3]
    assert left_out_of(coverage, completed, np.ones(4)) == left_out_of({}, completed, np.ones(4)) == ()
