"""What a study will cost: the arithmetic by hand, and the words."""

from __future__ import annotations

import dataclasses

import pytest

from study.config import Origin, TrialConfig
from study.search.rungs import expected_share
from study.session.cost import (
    END_SECONDS,
    TRIAL_SECONDS,
    Candidate,
    Cost,
    cost,
    count,
    data_line,
    duration,
    lines,
    makespan,
    network_line,
    to_measure,
    training_line,
    trial_seconds,
)
from study.training.probe import Figures
from study.tuning.measuring import Measured
from tests.helpers import made_summary

AE = TrialConfig(epochs=16)
VAE = TrialConfig(encoder="gaussian", regularizer="kl", weight=1.0, epochs=16)
FIGURES = {0: Figures(2.0, 1.0, 5.0, 800_000_000), 1: Figures(1.0, 0.5, 3.0, 900_000_000)}


def candidates(*origins: Origin, config: TrialConfig = AE) -> list[Candidate]:
    return [Candidate(config, origin, 1000) for origin in origins]


def measured(figures: dict[int, Figures] = FIGURES, **preparation: float) -> Measured:
    return Measured(figures, preparation, 2)


def test_the_extremes_and_the_most_frequent_kinds_are_measured() -> None:
    kinds = [AE, VAE, *(VAE.replace(likelihood=name) for name in ("bernoulli", "laplace", "gaussian_scalar"))]
    sizes = [Candidate(AE, Origin.SEARCH, size) for size in (500, 900, 100)]
    others = [Candidate(kinds[2], Origin.SEARCH, 300)] + [Candidate(kinds[1], Origin.SEARCH, n) for n in (200, 400)]
    chosen = to_measure([*sizes, *others, Candidate(kinds[3], Origin.SEARCH, 300)])
    assert chosen == [1, 2, 5, 3]  # 900 and 100; then the larger of two VAEs, and the first of the rest
    assert to_measure(sizes[:1]) == [0]


def test_a_trial_costs_what_the_most_similar_measured_one_does() -> None:
    small, large = Candidate(AE, Origin.SEARCH, 100), Candidate(VAE, Origin.SEARCH, 10_000)
    known = {0: small, 1: large}
    # 16 epochs, evaluated 7 times before the last: 16 * 2, 7 * 1, 5.
    assert trial_seconds(Candidate(AE, Origin.SEARCH, 9_000), known, measured()) == (32.0, 7.0, 5.0)
    assert trial_seconds(Candidate(VAE.replace(epochs=4), Origin.SEARCH, 100), known, measured()) == (4.0, 1.5, 3.0)
    near = {0: Candidate(AE, Origin.SEARCH, 100), 1: Candidate(AE, Origin.SEARCH, 1_000)}
    assert trial_seconds(Candidate(AE, Origin.SEARCH, 320), near, measured()) == (16.0, 3.5, 3.0)  # nearer by factors


def test_what_is_never_stopped_costs_its_whole_plan() -> None:
    known = candidates(Origin.BASELINE, Origin.FIRST, Origin.GRID)
    found = cost(known, {0: known[0]}, measured({0: FIGURES[0]}, shared=7.0), num_trials=3, done=0, slots=2,
                 objectives=2, eta=2.0)  # fmt: skip
    each = TRIAL_SECONDS + 44.0  # two side by side, then one
    assert found.whole == found.usual == pytest.approx(2 * each + 7.0 + END_SECONDS)
    assert (found.trials, found.memory, found.gpu) == (3, 800_000_000, None)


def test_searched_trials_are_stopped_as_the_rule_usually_stops_them() -> None:
    known = candidates(Origin.FIRST, *[Origin.SEARCH] * 3)
    found = cost(known, {0: known[0]}, measured({0: FIGURES[0]}), num_trials=30, done=10, slots=1, objectives=2,
                 eta=2.0)  # fmt: skip
    shares = [expected_share(number, 16, 2, 2.0) for number in range(11, 31)]
    usual = sum(TRIAL_SECONDS + share * 39.0 + end * 5.0 for share, end in shares)
    assert found.trials == 20 and found.usual == pytest.approx(usual + END_SECONDS)
    assert found.whole == pytest.approx(20 * (TRIAL_SECONDS + 44.0) + END_SECONDS)
    assert found.usual < 0.6 * found.whole
    assert (found.shortest, found.longest) == (44.0 + TRIAL_SECONDS,) * 2


@pytest.mark.parametrize(("slots", "seconds"), [(1, 12.0), (2, 8.0), (3, 7.0), (9, 5.0)])
def test_trials_begin_in_their_order_where_a_slot_is_free(slots: int, seconds: float) -> None:
    # Two slots: 3, then 5 from 3 on; beside it 2 and 2. Three slots: the last one begins at 2.
    assert makespan([3.0, 2.0, 2.0, 5.0], slots) == seconds


SHOWN = Cost(24, 2, 40.2, 132.0, 7_900.0, 3_000.0, {"feature networks": 0.0, "first stage": 80.0}, 1_100_000_000)


def test_a_cost_is_three_short_lines() -> None:
    assert lines(SHOWN, 12.3, 2) == [
        "trial    40 s to 2.2 min, 1.1 GB of memory; measured with 2 at once in 12 s",
        "before   feature networks cached, first stage about 80 s",
        "study    24 trials, 2 at once: about 50 min as trials are usually stopped, 2.2 hours if none is",
    ]
    grid = dataclasses.replace(SHOWN, trials=1, slots=1, usual=SHOWN.whole, memory=None, gpu=0.25, shortest=132.0)
    assert lines(grid, 0.6, 1) == [
        "trial    2.2 min, 25 % of a GPU's memory (predicted); measured in 1 s",
        "before   feature networks cached, first stage about 80 s",
        "study    1 trial, 1 at once: about 2.2 hours",
    ]
    assert all(len(line) <= 110 for line in lines(SHOWN, 12.3, 2))


def test_data_and_networks_are_a_line_each() -> None:
    assert data_line(made_summary(3, 64, 48, 812.34), 5, 8) == (
        "data     3x64x48, 8 bits a value; 1,077 to train, 360 to validate, 360 to test; 5 classes; "
        "total variance 812.3"
    )
    assert "32 bits a value" in data_line(made_summary(), 1, 32) and "no classes" in data_line(made_summary(), 1, 32)
    pair = [
        Candidate(AE.replace(network=name), Origin.SEARCH, size) for name, size in (("mlp", 51_234), ("conv", 2**21))
    ]
    assert network_line(pair) == "network  conv, mlp: 51,000 to 2.1 million parameters"
    assert network_line(pair[:1]) == "network  mlp: 51,000 parameters"


def test_epochs_and_steps_are_a_line() -> None:
    one, more = candidates(Origin.SEARCH), candidates(Origin.SEARCH, config=AE.replace(epochs=24, batch_size=1000))
    line = "training 16 epochs of 9 steps, 144 steps in all"
    assert training_line(one, 600, stops=False) == line
    assert training_line(one, 600, stops=True) == f"{line}; trials are first compared after 18 of them"
    both = "training 16 to 24 epochs of 1 to 9 steps, 24 to 144 steps in all"
    both += "; trials are first compared after 3 to 18 of them"
    assert training_line([*one, *more], 600, stops=True) == both
    single = candidates(Origin.SEARCH, config=AE.replace(epochs=1))  # has no rung
    assert training_line(single, 600, stops=True) == "training 1 epoch of 9 steps, 9 steps in all"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.04 s"), (3.14, "3.1 s"), (99.4, "99 s"), (100.0, "1.7 min"), (98 * 60, "98 min"),
     (133 * 60, "2.2 hours"),
     (59 * 60, "59 min"), (20 * 3600, "20 hours"), (400 * 3600, "17 days"), (1e8, "1157 days")],
)  # fmt: skip
def test_times_are_told_with_two_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(7, "7"), (1_234, "1,200"), (123_456, "120,000"), (3_456_789, "3.5 million")]
)
def test_parameters_are_told_with_two_digits(number: int, text: str) -> None:
    assert count(number) == text
