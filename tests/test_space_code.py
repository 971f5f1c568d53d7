"""The code of a space that is an object: what changes it, and what does not."""

from __future__ import annotations

import functools
import linecache
from typing import Any

import pytest

from study.space import SearchSpace, load_space
from study.space_code import code_of_space, file_of
from tests.helpers import made_summary

SCRIPT = '''
from study import SearchSpace, weight_range
WIDTHS = (2, 4)
OTHER = 7
class Choice:
    lowest = 0.5
def narrow(trial):
    return trial.suggest_categorical("latent_dim", WIDTHS)
def suggest(trial, data):
    """What varies."""
    return {"latent_dim": narrow(trial), "weight": Choice.lowest}
SPACE = SearchSpace(question="?", suggest=suggest, base={"encoder": "gaussian"},
    first_points=lambda data: [{"latent_dim": 2}])
TRIALS = 24
'''


def made(source: str, file: str = "<cell 1>") -> dict[str, Any]:
    """The names that a notebook's cell defines."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, file, "exec"), names)
    return names


def code(source: str) -> bytes:
    found = code_of_space(made(source)["SPACE"])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(2, 4)", "(2, 8)"),
        ("lowest = 0.5", "lowest = 0.6"),
        ('"latent_dim", WIDTHS', '"latent_dim", (2, 4)'),
        ('"weight": Choice', '"width": Choice'),
        ("gaussian", "deterministic"),
        ('[{"latent_dim": 2}]', '[{"latent_dim": 4}]'),
        ("suggest=suggest", 'suggest=suggest, objectives=("reconstruction_mse",)'),
        ("suggest=suggest", "suggest=lambda trial, data: {}"),
    ],
)
def test_whatever_changes_the_trials_changes_the_code(old: str, new: str) -> None:
    assert old in SCRIPT and code(SCRIPT) != code(SCRIPT.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("TRIALS = 24", "TRIALS = 48"),
        ("OTHER = 7", "OTHER = 8\n\n"),
        ("def narrow(trial):", "def narrow(trial):  # of two"),
        ('question="?"', 'question="Which?", num_trials=99'),
    ],
)
def test_the_rest_of_a_script_may_change(old: str, new: str) -> None:
    assert old in SCRIPT and code(SCRIPT) == code(SCRIPT.replace(old, new))


def test_what_a_function_has_closed_over_counts() -> None:
    source = "def make(low):\n    return lambda trial, data: {'weight': low}\n"
    make = made(source)["make"]
    codes = [code_of_space(SearchSpace(question="?", suggest=make(low))) for low in (1, 1, 2)]
    assert codes[0] == codes[1] != codes[2]
    suggest = made(SCRIPT)["suggest"]
    partials = [functools.partial(suggest, data=data) for data in (1, 1, 2)]
    codes = [code_of_space(SearchSpace(question="?", suggest=partial)) for partial in partials]
    assert codes[0] == codes[1] != codes[2]


def test_a_function_without_source_has_none() -> None:
    assert code_of_space(SearchSpace(question="?", suggest=eval("lambda trial, data: {}"))) is None
    assert code_of_space(SearchSpace(question="?", suggest=dict)) is None  # type: ignore[arg-type]
    assert file_of(dict) is None


def test_a_space_of_a_file_is_the_same_as_the_object_in_it() -> None:
    import hashlib

    from study.source import code_hash

    loaded = load_space("wae_weight")
    code = code_of_space(loaded.space)
    assert code is not None and loaded.is_same(code_hash(code), made_summary())
    assert not loaded.is_same(hashlib.sha256(b"another").hexdigest(), made_summary())
