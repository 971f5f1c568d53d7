"""All samplers alike: a study with stopped trials, resumed in the middle; equal seeds suggest equally."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.search.ledger import Ledger
from study.search.samplers import SAMPLERS, Factory, SearchedStudy, build_sampler
from study.space import SearchSpace
from tests.search.test_ledger import open_ledger

OWN = functools.partial(optuna.samplers.RandomSampler)
TRIALS, CUT = 14, 11


def _suggest(trial: optuna.trial.BaseTrial, data: Any) -> dict[str, Any]:
    regularizer = trial.suggest_categorical("regularizer", ("mmd", "kl"))
    kernel = trial.suggest_categorical("kernel", ("imq", "rbf")) if regularizer == "mmd" else "none"
    return {"regularizer": regularizer, "kernel": kernel, "weight": trial.suggest_float("weight", 1e-3, 10.0, log=True)}


SPACE = SearchSpace(
    question="?",
    suggest=_suggest,
    base={"encoder": "gaussian"},
    baselines=lambda data: [{"regularizer": "none", "kernel": "none", "weight": 0.0}],
)


def _ledger(directory: Path, sampler: str | Factory, storage: optuna.storages.BaseStorage | None = None) -> Ledger:
    """In memory: a file takes longer than the search."""
    storage = storage or optuna.storages.InMemoryStorage()
    return open_ledger(directory, SPACE, sampler=sampler, seed=1, num_trials=TRIALS, storage=storage)


def _search(ledger: Ledger, num_trials: int) -> list[dict[str, Any]]:
    """Trains two trials at a time until one of `num_trials` has begun and not ended; every third is stopped."""
    begun, configs = [], []
    while (assignment := ledger.next(num_trials)) is not None:
        begun.append(assignment)
        configs.append(assignment.config.to_params())
        if len(begun) > 1:
            number, config = begun[0].number, begun.pop(0).config
            values = {"val/reconstruction_mse": 1 + config.weight, "val/sample_fid": 1 + 1 / (config.weight + 0.01)}
            stops = number % 3 == 2
            missing = {"budget": 0.5 if stops else 0.0, "weight": 0.1 if number == 4 else 0.0}
            ledger.record(number, "stopped" if stops else "completed", epochs=60, values=values, infeasible=missing)
    return configs


@pytest.mark.parametrize("sampler", [*SAMPLERS, OWN], ids=[*SAMPLERS, "own"])
def test_a_study_with_stopped_trials_is_resumed_and_repeats_nothing(tmp_path: Path, sampler: str | Factory) -> None:
    storages = [optuna.storages.InMemoryStorage(), optuna.storages.InMemoryStorage()]
    sessions = []
    for storage in storages:
        first = _search(_ledger(tmp_path, sampler, storage), CUT)
        sessions.append((first, _search(_ledger(tmp_path, sampler, storage), TRIALS)))
    assert sessions[0] == sessions[1]  # equal seeds, equal suggestions, in the second session too
    first, second = sessions[0]
    assert len(first) == CUT and second[0] == first[-1] and len(second) == 1 + TRIALS - CUT
    points = {(config["regularizer"], config["kernel"], config["weight"]) for config in first + second}
    assert len(points) == TRIALS or sampler in ("nsga2", "nsga3")  # whose children may equal their parents
    study = optuna.load_study(study_name=tmp_path.name, storage=storages[0])
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert len(complete) == TRIALS - 1
    joined = [trial.number for trial in complete if trial.number % 3 != 2 and trial.number != 4]
    # The objectives conflict, so all are on the front.
    assert {trial.number for trial in study.best_trials} == set(joined)
    # What is stored is as in earlier versions, so that their studies and ours go on alike.
    assert {name for number in joined for name in study.trials[number].constraints} == set()
    assert study.trials[2].constraints == {"budget": 0.5} and study.trials[4].constraints == {"weight": 0.1}


class Own(optuna.samplers.RandomSampler):
    """A sampler of a user's own, which may model constraints as GPSampler does."""


def test_samplers_see_equal_constraints_on_all_completed_trials(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path, Own)
    _search(ledger, 4)
    seen = ledger._study._get_trials(deepcopy=False)
    assert [trial.constraints for trial in seen if trial.state.name == "COMPLETE"] == [{"budget": 0.0}, {"budget": 0.5}]
    _search(ledger, TRIALS)
    seen = [trial for trial in ledger._study._get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    assert {tuple(trial.constraints) for trial in seen} == {("budget", "weight")}
    stored = {trial.number: trial for trial in ledger.trials()}
    for trial in seen:
        assert {name: value for name, value in trial.constraints.items() if value} == stored[trial.number].constraints
        assert trial.params == stored[trial.number].params and trial.values == stored[trial.number].values
    assert not stored[1].constraints  # a copy was shown
    ledger._study.sampler = build_sampler("tpe", 0, 0)
    assert not all(trial.constraints for trial in ledger._study._get_trials(deepcopy=False))  # TPE needs none


def test_without_stopped_trials_there_are_no_constraints_to_model(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path, Own)
    for number in range(3):
        assert ledger.next(3) is not None
        ledger.record(number, "completed", epochs=60, values={name: 1.0 for name in ledger.objectives})
    assert not any(trial.constraints for trial in ledger._study._get_trials(deepcopy=False))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_zero_constraints_change_no_suggestion(sampler: str) -> None:
    """That all trials have a constraint of 0 is the same to a sampler as that none has any (GPSampler: nearly)."""
    if sampler == "gp":
        pytest.skip("it models the constraint, whatever its values")
    suggested = []
    for has_constraints in (False, True):
        storage = optuna.storages.InMemoryStorage()
        optuna.create_study(study_name="a", storage=storage, directions=["minimize", "minimize"])
        study = SearchedStudy(study_name="a", storage=storage, sampler=build_sampler(sampler, 0, 0, 16))
        for _ in range(24):
            trial = study.ask()
            weight = trial.suggest_float("weight", 0.1, 10.0)
            if has_constraints:
                trial.set_constraint("budget", 0.0)
            study.tell(trial, [weight, 1 / weight])
        suggested.append([trial.params for trial in study.trials])
    assert suggested[0] == suggested[1]


def test_no_sampler_but_gp_imports_torch_or_scipy() -> None:
    code = (
        "import sys; from study.search.samplers import SAMPLERS, build_sampler\n"
        "for name in SAMPLERS: build_sampler(name, 0, 0)\n"
        "assert not {'torch', 'scipy', 'optuna._gp.gp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
