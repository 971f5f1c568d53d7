"""Options of a study, whether typed or given in Python, and spaces that are objects."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import study
from study import run
from study.config import UserError
from study.dry_run import preview
from study.launch import Options, load_object
from study.space import SearchSpace, load_space
from tests.helpers import made_summary
from tests.test_space_code import SCRIPT, made

SPACE_FILE = """
from study import SearchSpace
def suggest(trial, data):
    return {}
SPACE = SearchSpace(question="?", suggest=suggest)
"""


def test_command_and_function_have_the_same_options() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(Options)}
    typed = {name: value.default for name, value in inspect.signature(run.run).parameters.items()}
    typed["data"] = typed.pop("dataset")
    for name in ("given", "list_spaces", "dry_run"):
        typed.pop(name)
    called = {name: value.default for name, value in inspect.signature(study.run_study).parameters.items()}
    assert called.pop("progress") is True
    assert list(fields) == list(called)
    assert fields.keys() == typed.keys()
    for name in fields.keys() - {"space", "runs_dir"}:
        assert fields[name] == typed[name] == called[name], name
    assert (fields["runs_dir"], typed["runs_dir"], called["runs_dir"]) == (Path("runs"), Path("runs"), "runs")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_trials": 0}, "num_trials: 0 is not in its range: it must be from 1 to 1000000"),
        ({"num_trials": "3"}, "num_trials: '3' is no whole number"),
        ({"epochs": 2.5}, "epochs: 2.5 is no whole number"),
        ({"seed": True}, "seed: True is no whole number"),
        ({"time_budget": float("nan")}, "time_budget: nan is not in its range"),
        ({"gpus_per_trial": 1.5}, "gpus_per_trial: 1.5 is not in its range: it must be from 0 to 1, or a whole number"),
        ({"cpus_per_trial": None}, "cpus_per_trial: None is no number"),
        ({"sampler": "nope"}, "--sampler nope: choose from tpe"),
        ({"scheduler": "nope"}, "--scheduler nope: choose from asha"),
        ({"name": "a/b"}, "--study a/b: use at most 100 letters"),
        ({"data": "nope"}, "choose from digits"),
        ({"space": "nope"}, "no search space 'nope': choose from annealing"),
        ({"resume": True, "name": "x", "warm_start": "y"}, "--warm-start y: no such study"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        preview(Options(**{"space": "wae_weight", "runs_dir": tmp_path / "runs", **options}))
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "runs").exists()


def test_a_space_of_a_cell_is_named_and_hashed_by_its_code() -> None:
    first, same, other = (
        load_object(made(source, file)["SPACE"])
        for source, file in [
            (SCRIPT, "/tmp/ipykernel_1/1.py"),
            (SCRIPT.replace("TRIALS = 24", "TRIALS = 9"), "/tmp/ipykernel_2/5.py"),
            (SCRIPT.replace("(2, 4)", "(2, 3)"), "/tmp/ipykernel_1/2.py"),
        ]
    )
    assert first.name == same.name == "notebook"
    data = made_summary()
    assert first.hash == same.hash and first.is_same(same.hash, data) and not other.is_same(first.hash, data)


def test_a_space_of_a_script_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "my script.py").write_text(SCRIPT)
    loaded = load_object(made(SCRIPT, str(tmp_path / "my script.py"))["SPACE"])
    assert (loaded.name, loaded.path) == ("my-script", tmp_path / "my script.py")


def test_a_script_and_the_command_continue_the_same_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SPACE_FILE)
    by_path = load_space(str(path))
    main = types.ModuleType("__main__")
    vars(main).update(made(SPACE_FILE, str(path)))
    monkeypatch.setitem(sys.modules, "__main__", main)
    by_object = load_object(main.SPACE)
    assert by_path.hash != by_object.hash
    assert by_path.is_same(by_object.hash, made_summary()) and by_object.is_same(by_path.hash, made_summary())
    changed = dataclasses.replace(by_object, whole=by_path.path.read_bytes().replace(b"return {}", b"return {0: 1}"))
    assert not changed.is_same(by_path.hash, made_summary())


def test_a_space_of_an_imported_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SPACE_FILE)
    for loaded in (load_space("wae_weight"), load_space(str(tmp_path / "mine.py"))):
        again = load_object(loaded.space)
        assert (again.name, again.path, again.source) == (loaded.name, loaded.path, loaded.source)


def test_a_space_without_code_is_refused() -> None:
    with pytest.raises(UserError, match="the code of this SearchSpace is not at hand"):
        load_object(SearchSpace(question="?", suggest=eval("lambda trial, data: {}")))
