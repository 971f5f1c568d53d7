"""Every schedule: range, exact ends, monotonicity; and the gate's state."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.config import TrialConfig, UserError
from study.model.building import SCHEDULES, build_schedule
from study.model.schedules.base import Schedule, Shape
from study.model.schedules.curves import Cyclical
from study.model.schedules.quality_gated import QualityGated

FRACTIONS = [0.1, 0.3, 0.5, 1.0]


def _schedule(name: str, fraction: float) -> Schedule:
    found = SCHEDULES[name]
    return found(fraction) if issubclass(found, Schedule) else Shape(found(), fraction)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_schedule_ends_are_exact(name: str, fraction: float) -> None:
    schedule = _schedule(name, fraction)
    assert schedule.multiplier(0.0) == (1.0 if name == "constant" else 0.0)
    assert schedule.multiplier(fraction) == 1.0
    assert schedule.multiplier(1.0) == 1.0


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_of_no_length_is_full_weight(name: str) -> None:
    assert [_schedule(name, 0.0).multiplier(progress) for progress in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_schedule_stays_in_range_and_never_falls(name: str, fraction: float) -> None:
    schedule = _schedule(name, fraction)
    values = [schedule.multiplier(step / 1000) for step in range(1001)]
    assert all(0 <= value <= 1 for value in values)
    falls = sum(later < earlier for earlier, later in itertools.pairwise(values))
    assert falls == (Cyclical.cycles - 1 if name == "cyclical" else 0)


@given(st.sampled_from(sorted(SCHEDULES)), st.floats(0, 1), st.floats(0, 1))
def test_schedule_multiplier_lies_in_range(name: str, fraction: float, progress: float) -> None:
    assert 0 <= _schedule(name, fraction).multiplier(progress) <= 1


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
    assert [_schedule(name, 0.8).multiplier(0.8 * share) for share in (0.25, 0.5, 0.75)] == pytest.approx(expected)


def test_sigmoid_schedule_is_the_logistic_curve_stretched() -> None:
    def logistic(share: float) -> float:
        return 1 / (1 + math.exp(-10 * (share - 0.5)))

    for share in (0.1, 0.3, 0.5, 0.9):
        expected = (logistic(share) - logistic(0)) / (logistic(1) - logistic(0))
        assert _schedule("sigmoid", 1.0).multiplier(share) == pytest.approx(expected)


def test_cyclical_schedule_ramps_half_of_each_cycle() -> None:
    schedule = _schedule("cyclical", 1.0)
    assert [schedule.multiplier(p) for p in (0.0625, 0.125, 0.2, 0.3125)] == pytest.approx([0.5, 1, 1, 0.5])


def _run(schedule: QualityGated, unexplained: list[float]) -> list[float]:
    """The multiplier at each of these steps. The schedule observes the model before each, as long as it waits."""
    values = []
    for step, share in enumerate(unexplained, 1):
        progress = step / len(unexplained)
        if schedule.waiting(progress):
            schedule.observe(progress, share)
        values.append(schedule.multiplier(progress))
    return values


FALLING = [1.0, 0.8, 0.49, 0.48, 0.47, 0.46, 0.45, 0.44, 0.43, 0.42]


def test_quality_gated_schedule_opens_at_the_quality() -> None:
    schedule = QualityGated(1.0)
    assert _run(schedule, FALLING) == pytest.approx([0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1])
    assert schedule.opened_at == 0.3


def test_quality_gated_schedule_opens_at_the_deadline() -> None:
    schedule = QualityGated(0.8)
    assert _run(schedule, [0.9] * 10) == pytest.approx([0, 0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1])
    assert schedule.opened_at == math.inf


def test_quality_gated_schedule_stays_open_when_the_reconstruction_worsens() -> None:
    worsening = [1.0, 0.4, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    assert _run(QualityGated(1.0), worsening)[2:7] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])


@pytest.mark.parametrize("cut", range(1, 10))
def test_quality_gated_schedule_state_survives_a_resume(cut: int) -> None:
    whole, first, resumed = QualityGated(1.0), QualityGated(1.0), QualityGated(1.0)
    expected = _run(whole, FALLING)
    for step in range(cut):
        first.observe((step + 1) / 10, FALLING[step])
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for step in range(cut, 10):
        resumed.observe((step + 1) / 10, FALLING[step])
        assert resumed.multiplier((step + 1) / 10) == expected[step]


def test_unknown_schedule_lists_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"choose from constant, .*linear, .*quality_gated"):
        build_schedule(TrialConfig(annealing="no such", annealing_fraction=0.5))


def test_a_curves_hyperparameters_are_trial_parameters() -> None:
    config = TrialConfig.from_params({"annealing": "cyclical", "annealing_fraction": 1.0, "cyclical.cycles": "2"})
    values = [build_schedule(config).multiplier(step / 1000) for step in range(1001)]
    assert sum(later < earlier for earlier, later in itertools.pairwise(values)) == 1
    gated = TrialConfig.from_params(
        {"annealing": "quality_gated", "annealing_fraction": 1.0, "quality_gated.quality": 0.9}
    )
    schedule = build_schedule(gated)
    schedule.observe(0.1, 0.85)
    assert schedule.multiplier(0.35) == pytest.approx(0.5)
