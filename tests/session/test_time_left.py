"""The time left, against cases that were computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from study.disk.following import Followed
from study.session.time_left import Trained, seconds_left, trained
from tests.helpers_study import make_study


def running(epochs: int, planned: int = 10, since: float = 0.0) -> Trained:
    return Trained(planned, epochs, False, epochs, since if epochs else math.inf)


def ended(epochs: int, recent: int | None = None, since: float = 0.0) -> Trained:
    return Trained(10, epochs, True, epochs if recent is None else recent, since)


CASES = {
    "nothing has begun": ([], 4, 10.0, None),
    "no epoch yet": ([running(0), running(0)], 4, 10.0, None),
    # 2 epochs in 10 s: .2/s. To train: two trials to 10 from 1, and two whole ones: 18 + 20 = 38.
    "first epochs, side by side": ([running(1), running(1)], 4, 10.0, 190.0),
    # 14 epochs in 14 s: 1/s. Mean 10; one lacks 6, two have not begun.
    "one has ended": ([ended(10), running(4)], 4, 14.0, 26.0),
    # 24 in 24 s. Mean of 10, 2 is 6. The running one is past the 2, so it goes to 10: -> 0 missing at 10 of 10.
    "one was stopped": ([ended(10), ended(2), running(10), running(2)], 5, 24.0, 8.0 + 6.0),
    # The running one may still be stopped at 2: mean of 2 and 10 less 1; two waiting with 6 each.
    "it may still be stopped": ([ended(10), ended(2), running(1)], 5, 13.0, 5.0 + 12.0),
    # Further than any that ended: to its own plan.
    "further than all": ([ended(2), running(5)], 2, 7.0, 5.0),
    "a failed one counts too": ([ended(10), ended(0, 0, math.inf)], 4, 10.0, 10.0),
    # Resumed: of 16 epochs, this session trained 4 in the 8 s since 92; 10 + 4 missing at .5/s.
    "resumed": ([ended(10, 0, math.inf), Trained(10, 6, False, 4, 92.0)], 3, 100.0, 28.0),
    "plans differ": ([running(1, planned=5), running(1, planned=15)], 3, 2.0, 4.0 + 14.0 + 10.0),
    "all have ended": ([ended(10), ended(10)], 2, 20.0, 0.0),
    "more than wanted": ([ended(10), ended(10), running(5)], 2, 25.0, 5.0),
    "clocks differ": ([running(1, since=50.0)], 2, 10.0, None),
}


@pytest.mark.parametrize("case", CASES)
def test_by_hand(case: str) -> None:
    trials, wanted, now, expected = CASES[case]
    left = seconds_left(trials, wanted, now)
    assert left is None if expected is None else left == pytest.approx(expected)


def test_the_budget_ends_a_study_earlier_but_no_running_trial() -> None:
    trials = [running(1), running(1)]  # an epoch of each in 10 s, so both have 90 s to go
    found = [seconds_left(trials, 4, 10.0, until) for until in (1000.0, 120.0, 30.0, -5.0)]
    assert found == pytest.approx([190.0, 120.0, 90.0, 90.0])


def test_what_trials_add(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=11, epochs=12, replicates=1)
    followed = Followed(study)
    followed.read()
    begun = 1.79e9 + 80.55  # in trial 8, after its fifth epoch
    found = dict(zip(followed.trials, trained(followed.trials.values(), begun), strict=False))
    assert len(found) == 11
    assert found[0] == Trained(12, 12, True, 0, math.inf)
    assert found[6] == Trained(12, 6, True, 0, math.inf)
    assert found[8][:4] == (12, 12, True, 7) and found[8].since == pytest.approx(begun)
    assert found[9][:4] == (12, 3, True, 3)
    assert found[9].since == pytest.approx(1.79e9 + 90.1 - 0.05 - 0.02)
    assert found[10][:4] == (12, 4, False, 4)
    assert [trial.epochs for trial in trained(followed.trials.values(), begun, extra=True)] == [12, 12]


def test_damaged_plans_do_not_matter(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=1)
    (study / "trials" / "0000" / "trial.json").write_text(json.dumps({"params": None}))
    followed = Followed(study)
    followed.read()
    [found] = trained(followed.trials.values(), 0.0)
    assert found.planned > 0 and found.epochs == 12
