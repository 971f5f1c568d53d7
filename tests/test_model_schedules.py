"""Every schedule: range, exact ends, monotony; and the gate's state."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.config import TrialConfig, UserError
from study.model.schedules import CYCLES, SCHEDULES, QualityGated, build_schedule

FRACTIONS = [0.1, 0.3, 0.5, 1.0]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_schedule_ends_are_exact(name: str, fraction: float) -> None:
    schedule = SCHEDULES[name](fraction)
    assert schedule.multiplier(0.0) == (1.0 if name == "constant" else 0.0)
    assert schedule.multiplier(fraction) == 1.0
    assert schedule.multiplier(1.0) == 1.0


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_of_no_length_is_full_weight(name: str) -> None:
    assert [SCHEDULES[name](0.0).multiplier(progress) for progress in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_schedule_stays_in_range_and_never_falls(name: str, fraction: float) -> None:
    schedule = SCHEDULES[name](fraction)
    values = [schedule.multiplier(step / 1000) for step in range(1001)]
    assert all(0 <= value <= 1 for value in values)
    falls = sum(later < earlier for earlier, later in itertools.pairwise(values))
    assert falls == (CYCLES - 1 if name == "cyclical" else 0)


@given(st.sampled_from(sorted(SCHEDULES)), st.floats(0, 1), st.floats(0, 1))
def test_schedule_multiplier_lies_in_range(name: str, fraction: float, progress: float) -> None:
    assert 0 <= SCHEDULES[name](fraction).multiplier(progress) <= 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", [0.25, 0.5, 0.75]),
        ("cosine", [0.5 - math.sqrt(0.125), 0.5, 0.5 + math.sqrt(0.125)]),
        ("delayed", [0, 0, 0.5]),
        ("cyclical", [0, 0, 0]),
    ],
)
def test_schedule_quarters_by_hand(name: str, expected: list[float]) -> None:
    assert [SCHEDULES[name](0.8).multiplier(0.8 * share) for share in (0.25, 0.5, 0.75)] == pytest.approx(expected)


def test_sigmoid_schedule_is_the_logistic_curve_stretched() -> None:
    def logistic(share: float) -> float:
        return 1 / (1 + math.exp(-10 * (share - 0.5)))

    for share in (0.1, 0.3, 0.5, 0.9):
        expected = (logistic(share) - logistic(0)) / (logistic(1) - logistic(0))
        assert SCHEDULES["sigmoid"](1.0).multiplier(share) == pytest.approx(expected)


def test_cyclical_schedule_ramps_half_of_each_cycle() -> None:
    schedule = SCHEDULES["cyclical"](1.0)
    assert [schedule.multiplier(p) for p in (0.0625, 0.125, 0.2, 0.3125)] == pytest.approx([0.5, 1, 1, 0.5])


def _run(schedule: QualityGated, reconstructions: list[float]) -> list[float]:
    """Multipliers at the end of each of these epochs."""
    values = []
    for epoch, reconstruction in enumerate(reconstructions, 1):
        values.append(schedule.multiplier(epoch / len(reconstructions)))
        schedule.observe(reconstruction)
    return values


def test_quality_gated_schedule_opens_at_the_quality() -> None:
    falling = [10, 8, 4.9, 4.8, 4.7, 4.6, 4.5, 4.4, 4.3, 4.2]
    assert _run(QualityGated(1.0), falling) == pytest.approx([0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1])


def test_quality_gated_schedule_opens_at_the_deadline() -> None:
    assert _run(QualityGated(0.8), [10.0] * 10) == pytest.approx([0, 0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1])


def test_quality_gated_schedule_stays_open_when_the_reconstruction_worsens() -> None:
    worsening = [10.0, 4, 9, 9, 9, 9, 9, 9, 9, 9]
    assert _run(QualityGated(1.0), worsening)[2:7] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])


@pytest.mark.parametrize("cut", range(1, 10))
def test_quality_gated_schedule_state_survives_a_resume(cut: int) -> None:
    reconstructions = [10, 8, 4.9, 4.8, 4.7, 4.6, 4.5, 4.4, 4.3, 4.2]
    first, resumed = QualityGated(1.0), QualityGated(1.0)
    for epoch in range(cut):
        first.multiplier((epoch + 1) / 10)
        first.observe(reconstructions[epoch])
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for epoch in range(cut, 10):
        assert resumed.multiplier((epoch + 1) / 10) == first.multiplier((epoch + 1) / 10)
        first.observe(reconstructions[epoch])
        resumed.observe(reconstructions[epoch])


def test_unknown_schedule_lists_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"choose from constant, linear, .*quality_gated"):
        build_schedule(TrialConfig(annealing="no such"))
