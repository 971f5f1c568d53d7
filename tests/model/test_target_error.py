"""The control of a requested error: on a made-up model whose answer is known, its state, and its bounds."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from study.config import TrialConfig, UserError
from study.model.target_error import REACH, WeightControl, build_control, in_turn

STEPS = 800
observations = st.lists(st.tuples(st.floats(0, 1), st.floats()), min_size=1, max_size=40)


class Plant:
    """A made-up training: the log error follows the weight's with a lag, above a floor that falls as it trains.

    Args:
        slope: d log error / d log w, in the long run.
        noise: Deviation of an observation's log error.
    """

    def __init__(self, slope: float, noise: float = 0.0) -> None:
        self.slope, self.noise = slope, noise
        self.settled = 0.0
        self.generator = torch.Generator().manual_seed(0)

    def error(self, weight: float) -> float:
        """The error that this weight has in the long run."""
        return 0.02 * weight**self.slope

    def train(self, control: WeightControl, steps: range) -> float:
        """Trains by some of the `STEPS` steps, and returns the error at the last one."""
        for step in steps:
            progress = (step + 1) / STEPS
            self.settled += 0.04 * (self.slope * math.log(control.weight) - self.settled)
            untrained = 0.2 * (1 / progress - 1)
            seen = self.noise * float(torch.randn((), generator=self.generator))
            control.observe(progress, 0.02 * math.exp(self.settled + untrained + seen))
        return 0.02 * math.exp(self.settled)


@pytest.mark.parametrize(("slope", "noise"), [(0.2, 0.05), (0.4, 0.05), (0.8, 0.0)])
@pytest.mark.parametrize("wanted", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("start", [0.3, 1.0, 3.0])
def test_the_control_finds_the_weight_of_the_requested_error(
    slope: float, noise: float, wanted: float, start: float
) -> None:
    """`wanted` is the weight with the requested error."""
    plant = Plant(slope, noise)
    control = WeightControl(plant.error(wanted), start)
    assert plant.train(control, range(STEPS)) == pytest.approx(plant.error(wanted), rel=0.05)


def test_the_weight_grows_below_the_request_and_shrinks_above_it() -> None:
    for error, direction in ((0.01, 1), (0.04, -1)):
        control = WeightControl(0.02, 1.0)
        weights = [1.0]
        for step in range(1, 101):
            control.observe(step / 100, error)
            weights.append(control.weight)
        steps = [direction * (later - earlier) for earlier, later in itertools.pairwise(weights)]
        assert min(steps) >= 0 and max(steps) > 0


def test_a_steady_drift_of_the_right_weight_leaves_no_miss() -> None:
    """A model that goes on learning: at a constant weight its error would fall by a quarter in the second half."""
    plant = Plant(0.3)
    control = WeightControl(0.02, 1.0)
    misses = []
    for step in range(STEPS):
        progress = (step + 1) / STEPS
        plant.settled += 0.04 * (plant.slope * math.log(control.weight) - plant.settled)
        miss = plant.settled - 0.58 * (progress - 0.5)
        misses.append(miss)
        control.observe(progress, 0.02 * math.exp(miss))
    assert max(map(abs, misses[-STEPS // 4 :])) < 0.015


def test_the_weight_waits_while_the_error_falls_to_the_request_by_itself() -> None:
    control = WeightControl(0.02, 1.0)
    for step in range(1, 51):
        control.observe(step / 100, 0.02 * math.exp(3 * (0.6 - step / 100)))
    assert 0.85 < control.weight <= 1  # an error that stays as far away would leave less than a tenth
    for step in range(51, 101):
        control.observe(step / 100, 0.03)
    assert control.weight < 0.2


@given(st.floats(1e-9, 1e3), st.floats(1e-9, 1e6), observations)
def test_whatever_is_observed_the_weight_stays_in_its_reach(target: float, weight: float, seen) -> None:
    control = WeightControl(target, weight)
    for progress, (_, error) in zip(sorted(progress for progress, _ in seen), seen, strict=True):
        control.observe(progress, abs(error))
        assert weight / REACH * 0.999 <= control.weight <= weight * REACH * 1.001
        assert all(math.isfinite(value) or name == "ratio" for name, value in control.state_dict().items())


@given(st.floats(1e-3, 1.0), st.floats(1e-3, 1e3), observations, st.integers(0, 40))
def test_the_controls_state_survives_a_resume(target: float, weight: float, seen, cut: int) -> None:
    ordered = list(zip(sorted(progress for progress, _ in seen), (abs(error) for _, error in seen), strict=True))
    whole, first, resumed = (WeightControl(target, weight) for _ in range(3))
    for observation in ordered:
        whole.observe(*observation)
    for observation in ordered[:cut]:
        first.observe(*observation)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for observation in ordered[cut:]:
        resumed.observe(*observation)
    assert resumed.weight == whole.weight


@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 20))
def test_turns_go_through_all_images(total: int, count: int, turns: int) -> None:
    images = torch.arange(total)
    seen = torch.cat([in_turn(images, turn, count) for turn in range(turns)])
    count = min(count, total)
    assert seen.tolist() == [number % total for number in range(count * turns)]


def test_only_a_trial_that_requests_an_error_has_a_control() -> None:
    assert build_control(TrialConfig(encoder="gaussian", regularizer="kl", weight=0.1)) is None
    control = build_control(TrialConfig(encoder="gaussian", regularizer="kl", weight=0.1, target_error=0.02))
    assert control is not None and (control.weight, control.target_error) == (0.1, 0.02)


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"target_error": -0.1}, "target_error"),
        ({"target_error": float("nan")}, "target_error"),
        ({"target_error": "small"}, "target_error"),
        ({"target_error": 0.02}, "regularizer"),
        ({"target_error": 0.02, "regularizer": "mmd"}, "weight above 0"),
        ({"target_error": 0.02, "regularizer": "mmd", "weight": 1.0, "annealing": "linear"}, "annealing"),
    ],
)
def test_a_request_that_means_nothing_is_refused_in_one_line(params: dict[str, object], word: str) -> None:
    fraction = {"annealing_fraction": 0.5} if "annealing" in params else {}
    with pytest.raises(UserError, match=word) as refused:
        TrialConfig.from_params({**params, **fraction})
    assert "\n" not in str(refused.value)
