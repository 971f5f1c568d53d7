"""Every sampler obeys the ranges in force: before a change suggestions are as they were, after it they lie inside."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from study.search.asked_ranges import Interval, check_range, searched_parameters
from study.search.control import record_change
from study.search.ledger import Ledger
from study.search.narrowing import narrowed
from study.search.samplers import SAMPLERS, Factory
from study.space import SearchSpace
from tests.helpers import made_summary
from tests.search.test_ledger import open_ledger

OWN = functools.partial(optuna.samplers.RandomSampler)
ALL = pytest.mark.parametrize("sampler", [*SAMPLERS, OWN], ids=[*SAMPLERS, "own"])
BEFORE, AFTER = 10, 20


def _suggest(trial: optuna.trial.BaseTrial, data: Any) -> dict[str, Any]:
    regularizer = trial.suggest_categorical("regularizer", ("mmd", "kl", "info_vae"))
    kernel = trial.suggest_categorical("kernel", ("imq", "rbf")) if regularizer != "kl" else "none"
    return {
        "regularizer": regularizer,
        "kernel": kernel,
        "weight": trial.suggest_float("weight", 1e-3, 10.0, log=True),
        "latent_dim": trial.suggest_int("latent_dim", 2, 32, step=2),
    }


SPACE = SearchSpace(
    question="?",
    suggest=_suggest,
    base={"encoder": "gaussian"},
    baselines=lambda data: [{"regularizer": "none", "kernel": "none", "weight": 0.0, "latent_dim": 4}] * 2,
    first_points=lambda data: [{"regularizer": "kl", "weight": 9.0, "latent_dim": 32}] * 2,
)
NARROW = {
    "weight": {"low": 0.1, "high": 0.5},
    "latent_dim": {"low": 5, "high": 11},
    "regularizer": {"choices": ["mmd", "info_vae"]},
    "kernel": {"choices": ["rbf"]},
}


def _ledger(directory: Path, sampler: str | Factory, storage: optuna.storages.BaseStorage) -> Ledger:
    return open_ledger(directory, SPACE, sampler=sampler, seed=1, num_trials=40, storage=storage)


def _search(ledger: Ledger, num_trials: int) -> list[dict[str, Any]]:
    """Trains two trials at a time, every third is stopped; gives parameters and origin of those that began."""
    begun, found = [], []
    while (assignment := ledger.next(num_trials)) is not None:
        begun.append(assignment)
        found.append({**assignment.config.to_params(), "origin": assignment.origin})
        if len(begun) > 1:
            _end(ledger, begun.pop(0))
    for assignment in begun:
        _end(ledger, assignment)
    return found


def _end(ledger: Ledger, assignment: Any) -> None:
    weight, stops = assignment.config.weight, assignment.number % 3 == 2
    values = {"val/reconstruction_mse": 1 + weight, "val/sample_fid": 1 + 1 / (weight + 0.01)}
    missing = {"budget": 0.5 if stops else 0.0}
    ledger.record(assignment.number, "stopped" if stops else "completed", epochs=60, values=values, infeasible=missing)


def _change(ledger: Ledger, ranges: dict[str, Any]) -> None:
    for name, value in ranges.items():
        record_change(ledger._study, "range", value, name)
    ledger.control.look()


def _is_inside(params: dict[str, Any]) -> bool:
    return (
        0.1 <= params["weight"] <= 0.5
        and params["latent_dim"] in (6, 8, 10)
        and params["regularizer"] in ("mmd", "info_vae")
        and params["kernel"] == "rbf"
    )


@ALL
def test_after_a_change_all_suggestions_lie_inside_and_before_it_none_differs(
    tmp_path: Path, sampler: str | Factory
) -> None:
    sessions, after = [], 5 if sampler == "gp" else AFTER  # gp takes seconds for each
    for ranges in ({}, NARROW, NARROW):
        ledger = _ledger(tmp_path, sampler, optuna.storages.InMemoryStorage())
        before = _search(ledger, BEFORE)
        _change(ledger, ranges)
        sessions.append((before, _search(ledger, BEFORE + after)))
    assert sessions[0][0] == sessions[1][0]  # nothing has changed yet
    assert sessions[1] == sessions[2]  # equal seeds, equal suggestions
    assert len(sessions[1][1]) == after and all(map(_is_inside, sessions[1][1]))
    assert not all(map(_is_inside, sessions[0][1]))


@ALL
def test_a_resumed_study_obeys_and_default_gives_back_what_the_space_says(
    tmp_path: Path, sampler: str | Factory
) -> None:
    storage = optuna.storages.InMemoryStorage()
    first = _ledger(tmp_path, sampler, storage)
    _search(first, BEFORE)
    _change(first, NARROW)
    _search(first, BEFORE + 3)
    second = _ledger(tmp_path, sampler, storage)
    assert all(map(_is_inside, _search(second, BEFORE + 6)))
    _change(second, dict.fromkeys(NARROW))
    found = _search(second, BEFORE + (10 if sampler == "gp" else 36))
    assert not all(map(_is_inside, found))
    assert all(1e-3 <= params["weight"] <= 10 and params["latent_dim"] % 2 == 0 for params in found)
    # To the sampler the earlier trials are as if nothing had been changed.
    shown = second._study._get_trials(deepcopy=False)
    spaces = {trial.distributions["weight"] for trial in shown if "weight" in trial.distributions}
    assert spaces == {FloatDistribution(1e-3, 10.0, log=True)}


@ALL
def test_a_range_may_be_wider_than_the_space_s_own(tmp_path: Path, sampler: str | Factory) -> None:
    ledger = _ledger(tmp_path, sampler, optuna.storages.InMemoryStorage())
    _search(ledger, BEFORE)
    _change(ledger, {"weight": {"low": 20.0, "high": 40.0, "replaces": [1e-3, 10.0]}})
    assert all(20 <= params["weight"] <= 40 for params in _search(ledger, BEFORE + 8))


def test_of_several_own_ranges_each_is_narrowed_and_one_beyond_stays(tmp_path: Path) -> None:
    own = {"mmd": (0.01, 0.1), "kl": (1.0, 4.0), "info_vae": (0.05, 2.0)}

    def suggest(trial: optuna.trial.BaseTrial, data: Any) -> dict[str, Any]:
        regularizer = trial.suggest_categorical("regularizer", tuple(own))
        kernel = {} if regularizer == "kl" else {"kernel": "imq"}
        return {"regularizer": regularizer, "weight": trial.suggest_float("weight", *own[regularizer]), **kernel}

    space = SearchSpace(question="?", suggest=suggest, base={"encoder": "gaussian"})
    kinds = searched_parameters(space, made_summary())
    wanted = check_range("weight", Interval(0.5, 5), kinds)
    assert wanted == {"low": 0.5, "high": 5.0}
    ledger = open_ledger(tmp_path, space, storage=optuna.storages.InMemoryStorage())
    _change(ledger, {"weight": wanted})
    found = _search(ledger, 60)
    for regularizer, (low, high) in {"mmd": (0.01, 0.1), "kl": (1.0, 4.0), "info_vae": (0.5, 2.0)}.items():
        weights = [params["weight"] for params in found if params["regularizer"] == regularizer]
        assert len(weights) > 9 and low <= min(weights) < max(weights) <= high


def _stepped(trial: optuna.trial.BaseTrial, data: Any) -> dict[str, Any]:
    regularizer = trial.suggest_categorical("regularizer", ("mmd", "kl"))
    return {
        "regularizer": regularizer,
        "kernel": trial.suggest_categorical("kernel", ("imq", "rbf", "rq")) if regularizer == "mmd" else "none",
        "weight": trial.suggest_float("weight", 1.0, 5.0, step=1.0),
        "latent_dim": trial.suggest_int("latent_dim", 2, 16, step=2),
    }


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_that_reads_the_storage_obeys_too(tmp_path: Path) -> None:
    space = SearchSpace(question="?", suggest=_stepped, base={"encoder": "gaussian"})
    ledger = _opened(tmp_path, space, optuna.samplers.BruteForceSampler)
    _search(ledger, BEFORE)
    begun = ledger.next(BEFORE + 1)  # ends after the change, and may lie outside
    _change(ledger, {"latent_dim": {"low": 4, "high": 8}, "kernel": {"choices": ["imq", "rq"]}})
    _end(ledger, begun)
    found = _search(ledger, BEFORE + 1 + 40)
    assert all(params["latent_dim"] in (4, 6, 8) and params["kernel"] != "rbf" for params in found)
    # Without repeats, so it sees what it has drawn: 3 widths x 5 weights x 3 kinds are 45 points.
    assert len({tuple(map(str, params.values())) for params in found}) == 40


def test_after_a_change_tpe_uses_its_model_once_ten_trials_have_ended_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    sample = optuna.samplers.TPESampler._sample

    def counted(sampler: Any, study: Any, trial: Any, space: Any) -> Any:
        calls.append(trial.number)
        return sample(sampler, study, trial, space)

    monkeypatch.setattr(optuna.samplers.TPESampler, "_sample", counted)
    for before, first in ((20, 23), (6, 13)):
        calls.clear()
        ledger = _opened(tmp_path, SPACE, "tpe")
        _search(ledger, before)
        calls.clear()
        _change(ledger, {"weight": {"low": 20.0, "high": 40.0, "replaces": [1e-3, 10.0]}})  # none lies inside
        _search(ledger, 26)
        # 2 baselines are not searched, and 1 trial has begun when the next is drawn: the first after 2 inside, or after
        # 10 in all.
        assert set(calls) == set(range(first, 26))


def _opened(directory: Path, space: SearchSpace, sampler: Any) -> Ledger:
    return open_ledger(directory, space, sampler=sampler, seed=1, storage=optuna.storages.InMemoryStorage())


def test_fixed_trials_still_to_come_are_as_they_were(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path, "tpe", optuna.storages.InMemoryStorage())
    _change(ledger, NARROW)
    found = _search(ledger, 6)
    assert [params["origin"].label for params in found] == [
        "baseline",
        "first",
        "baseline",
        "first",
        "search",
        "search",
    ]
    assert found[1]["weight"] == 9.0 and found[1]["regularizer"] == "kl" and found[1]["latent_dim"] == 32
    assert _is_inside(found[4]) and _is_inside(found[5])


def test_what_a_driver_had_asked_for_when_it_died_stays(tmp_path: Path) -> None:
    storage = optuna.storages.InMemoryStorage()
    first = _ledger(tmp_path, "random", storage)
    _search(first, 4)
    trial = first._study.ask()
    regularizer = trial.suggest_categorical("regularizer", ("mmd", "kl", "info_vae"))
    weight = trial.suggest_float("weight", 1e-3, 1e-2, log=True)
    _change(first, NARROW)
    assignment = _ledger(tmp_path, "random", storage).next(10)
    assert assignment is not None and assignment.number == trial.number
    assert (assignment.config.regularizer, assignment.config.weight) == (regularizer, weight)
    assert assignment.config.latent_dim in (6, 8, 10)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_a_narrowed_number_keeps_scale_and_steps(one: float, two: float) -> None:
    low, high = sorted((one, two))
    wanted = {"low": low, "high": high}
    plain = narrowed(FloatDistribution(0.0, 1.0), wanted | {"replaces": [0.0, 1.0]})
    assert isinstance(plain, FloatDistribution) and (plain.low, plain.high) == (low, high)
    within = narrowed(FloatDistribution(0.0, 1.0), wanted)
    assert within == (FloatDistribution(max(low, 0.0), min(high, 1.0)) if high >= 0 and low <= 1 else None)
    for own in (FloatDistribution(0.3, 0.9, step=0.1), IntDistribution(3, 31, step=4)):
        found = narrowed(own, wanted | {"replaces": [own.low, own.high]})
        values = [own.low + k * own.step for k in range(-20000, 20000)] if found is None else []  # type: ignore[operator]
        assert not any(low <= value <= high for value in values[::7])
        if isinstance(found, FloatDistribution | IntDistribution):
            assert low - 1e-9 <= found.low <= found.high <= high + 1e-9 and found.step == own.step
            assert abs((found.low - own.low) / own.step - round((found.low - own.low) / own.step)) < 1e-6  # type: ignore[operator]
    found = narrowed(FloatDistribution(1e-3, 1.0, log=True), wanted | {"replaces": [1e-3, 1.0]})
    assert (found is None) == (low <= 0) and (found is None or found.log)  # type: ignore[union-attr]


def test_choices_stay_in_their_order_and_ones_of_another_kind_are_none() -> None:
    own = CategoricalDistribution((1, 2.0, "2", True, None))
    assert narrowed(own, {"choices": [None, "2", 1]}) == CategoricalDistribution((1, "2", None))
    assert narrowed(own, {"choices": [2]}) is None and narrowed(own, {"low": 0, "high": 9}) is None
    assert narrowed(FloatDistribution(0, 1), {"choices": ["2"]}) is None
