from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.config import UserError
from study.search.own_samplers import check_sampler, chosen_sampler, sampler_name
from study.search.samplers import SAMPLERS
from study.space import SearchSpace
from tests.search.test_ledger import open_ledger

MODULE = """
import optuna

class Mine(optuna.samplers.RandomSampler):
    pass

class Seedless(optuna.samplers.RandomSampler):
    def __init__(self):
        super().__init__()

class Broken(optuna.samplers.RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        raise KeyError("no\\nidea")

class Late(optuna.samplers.RandomSampler):
    def after_trial(self, study, trial, state, values):
        if trial.user_attrs:
            raise KeyError("too late")

def make(seed):
    return Mine(seed=seed)

def number(seed):
    return seed

WORD = "tpe"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_samplers.py").write_text(MODULE)
    (tmp_path / "half.py").write_text("SEED = 1 / 0\n")
    (tmp_path / "lacking.py").write_text("import nowhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_samplers", None)


def _named(name: str, objectives: int = 2) -> Any:
    sampler = chosen_sampler(sampler_name(name))
    check_sampler(sampler, objectives)
    return sampler


@pytest.mark.parametrize(
    "name",
    [*SAMPLERS, "my_samplers:Mine", "my_samplers:make", "optuna.samplers:TPESampler", "optuna:samplers.GPSampler"],
)
def test_samplers_are_found_by_name(mine: None, name: str) -> None:
    assert sampler_name(name) == name
    sampler = _named(name)
    assert name in SAMPLERS or isinstance(sampler(seed=0), optuna.samplers.BaseSampler)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "choose from tpe, gp, nsga2, nsga3, qmc, random, or give module:Class"),
        ("nowhere:Mine", "no module nowhere in "),
        ("lacking:Mine", "lacking.py, line 1: ModuleNotFoundError: No module named 'nowhere'"),
        ("half:Mine", "half.py, line 1: ZeroDivisionError"),
        ("my_samplers:Theirs", "AttributeError: module 'my_samplers' has no attribute 'Theirs'"),
        ("my_samplers:", "AttributeError"),
        (":Mine", "ValueError: Empty module name"),
        ("my_samplers:WORD", "WORD is no class or function"),
        ("my_samplers:number", "it gives int, no Optuna sampler"),
        ("my_samplers:Seedless", "got an unexpected keyword argument 'seed'; give a function seed -> sampler"),
        ("my_samplers:Broken", "my_samplers.py, line 13: KeyError: 'no\\nidea'"),
        ("optuna.samplers:GridSampler", "missing a required argument: 'search_space'; give a function"),
        ("optuna.samplers:CmaEsSampler", "CmaEsSampler cannot be used"),
        ("__main__:make", "is of a script or notebook: give it again, as sampler="),
    ],
)
def test_samplers_of_no_use_are_refused_in_one_line(mine: None, name: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        _named(name)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_modules_beside_the_space_come_before_the_path_and_the_working_directory_after_it(
    mine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder in (beside, here):
        (folder / "parts").mkdir(parents=True)
        (folder / "my_samplers.py").write_text("import helper\nMine = helper.Mine\n")
        (folder / "helper.py").write_text(MODULE)
        (folder / "parts" / "__init__.py").write_text("")
        (folder / "parts" / "good.py").write_text("from helper import Mine\n")
    monkeypatch.chdir(here)
    before = list(sys.path), set(sys.modules)

    def file(name: str, beside: Path | None) -> str:
        found: Any = chosen_sampler(name, beside=beside)
        check_sampler(found, 2)
        return inspect.getfile(found)

    assert file("my_samplers:Mine", beside) == str(beside / "helper.py")
    assert file("my_samplers:Mine", None) == str(tmp_path / "my_samplers.py")
    assert file("parts.good:Mine", beside) == str(beside / "helper.py")
    assert file("parts.good:Mine", None) == str(here / "helper.py")
    assert sys.path == before[0] and not {"helper", "parts"} & (set(sys.modules) - before[1])
    with pytest.raises(UserError) as raised:
        chosen_sampler("parts.bad:Mine", beside=beside)
    assert str(raised.value).startswith(f"--sampler parts.bad:Mine: no module parts.bad in {beside} or {here}, or")


def test_one_objective_may_have_another_sampler() -> None:
    pytest.importorskip("cmaes")
    _named("optuna.samplers:CmaEsSampler", objectives=1)


def test_objects_are_named_as_what_makes_them() -> None:
    def make(seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.RandomSampler(seed=seed)

    some = functools.partial(optuna.samplers.TPESampler, n_startup_trials=3)
    assert sampler_name(optuna.samplers.TPESampler) == "optuna.samplers:TPESampler"
    assert sampler_name(some) == "optuna.samplers:TPESampler(n_startup_trials=3)"
    assert chosen_sampler(sampler_name(make), None, make) is make
    assert chosen_sampler(sampler_name(some), "tpe", some) is some
    with pytest.raises(UserError, match="give it again"):
        chosen_sampler(sampler_name(some))
    for given, message in ((optuna.samplers.RandomSampler(), "RandomSampler is an object"), (3, "int is an object")):
        with pytest.raises(UserError, match=message):
            sampler_name(given)


def test_an_error_in_a_sampler_has_its_place(mine: None, tmp_path: Path) -> None:
    space = SearchSpace(question="?", suggest=lambda trial, data: {"weight": trial.suggest_float("weight", 1.0, 2.0)})
    ledger = open_ledger(tmp_path / "late", space, sampler=_named("my_samplers:Late"))
    assert ledger.next(2) is not None
    with pytest.raises(UserError, match=r"my_samplers.py, line 18: KeyError: 'too late'"):
        ledger.record(0, "completed", epochs=60, values={name: 1.0 for name in ledger.objectives})
