"""Ranges as a user writes them, and which of them a space's parameters may have."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.config import UserError
from study.search.asked_ranges import (
    Asked,
    Interval,
    check_range,
    parse_range,
    parse_ranges,
    searched_parameters,
)
from study.space import SearchSpace, load_space
from tests.helpers import made_summary


def _suggest(trial: Any, data: Any) -> dict[str, Any]:
    regularizer = trial.suggest_categorical("regularizer", ("mmd", "kl"))
    return {
        "regularizer": regularizer,
        "kernel": trial.suggest_categorical("kernel", ("imq", "rbf")) if regularizer == "mmd" else "none",
        "weight": trial.suggest_float("weight", 1e-3, 10.0, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2),
        "latent_dim": trial.suggest_int("latent_dim", 4, 32, step=4),
        "width": trial.suggest_categorical("width", (16, 64, 128)),
    }


SPACE = SearchSpace(question="?", suggest=_suggest, base={"encoder": "gaussian"})
DATA = made_summary()
KINDS = searched_parameters(SPACE, DATA)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("weight=0.1..10", ("weight", Interval(0.1, 10))),
        ("weight=1e-3..1E2", ("weight", Interval(1e-3, 100.0))),
        (" weight = -1 .. 2 ", ("weight", Interval(-1, 2))),
        ("latent_dim=4..8", ("latent_dim", Interval(4, 8))),
        ("regularizer=kl,mmd", ("regularizer", ("kl", "mmd"))),
        ("kernel=rbf", ("kernel", ("rbf",))),
        ("mine.depth=2", ("mine.depth", ("2",))),
        ("weight=default", ("weight", None)),
    ],
)
def test_a_range_is_read(text: str, found: tuple[str, Asked]) -> None:
    assert parse_range(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "weight", "weight=", "=1..2", "weight=1..", "weight=..2", "weight=a..b", "weight=1..nan", "k=a,,b", "k=,"],
)
def test_what_is_no_range_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"give PARAMETER=LOW\.\.HIGH"):
        parse_range(text)


@given(st.text())
def test_fuzz_any_text_is_read_or_refused(text: str) -> None:
    try:
        name, asked = parse_range(text)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert name and (asked is None or len(asked) > 0)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_interval_is_read_as_it_is_written(low: float, high: float) -> None:
    assert parse_range(f"x={low!r}..{high!r}") == ("x", Interval(low, high))


def test_a_parameter_is_named_once() -> None:
    assert parse_ranges(["a=1..2", "b=default"]) == {"a": Interval(1, 2), "b": None}
    with pytest.raises(UserError, match="a is named twice"):
        parse_ranges(["a=1..2", "a=default"])


def test_parameters_that_only_some_trials_have_are_found() -> None:
    assert sorted(KINDS) == ["kernel", "latent_dim", "learning_rate", "regularizer", "weight", "width"]
    own = searched_parameters(load_space("method").space, DATA)
    assert {"annealing_fraction", "kernel", "encoder"} <= own.keys() and len(own["weight"]) > 1


@pytest.mark.parametrize(
    ("name", "asked", "value"),
    [
        (
            "weight",
            Interval(1, 100),
            {"low": 1.0, "high": 100.0, "replaces": [1e-3, 10.0]},
        ),  # wider than the space's own
        ("weight", ("2",), {"low": 2.0, "high": 2.0}),
        ("latent_dim", Interval(4.0, 15), {"low": 4, "high": 15}),
        ("kernel", ("rbf",), {"choices": ["rbf"]}),
        ("regularizer", ("kl", "mmd", "kl"), {"choices": ["mmd", "kl"]}),
        ("width", ("64", "16"), {"choices": [16, 64]}),
        ("width", (64,), {"choices": [64]}),
        ("width", Interval(20, 200), {"choices": [64, 128]}),
        ("weight", None, None),
    ],
)
def test_a_range_that_may_be(name: str, asked: Asked, value: Any) -> None:
    found = check_range(name, asked, KINDS)
    assert found == value
    if found and "low" in found:
        assert [type(found[end]) for end in ("low", "high")] == [int if name == "latent_dim" else float] * 2


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("nope", Interval(1, 2), "does not search nope, it searches kernel"),
        ("batch_size", None, "does not search batch_size"),
        ("method", ("vae",), "the method follows from the regularizer: give --range regularizer=... (mmd, kl)"),
        ("weight", Interval(2, 1), "--range weight=2..1: the range is empty"),
        ("weight", Interval(-1, 1), "weight must be a finite number, at least 0"),
        ("weight", Interval(0, 1), "logarithmic scale"),
        ("weight", ("a",), "it is a number, give LOW..HIGH"),
        ("weight", ("1", "2"), "it is a number, give LOW..HIGH"),
        ("weight", Interval(1, math.inf), "it is a number"),
        ("learning_rate", Interval(0, 1), "must be a finite number, above 0"),
        ("latent_dim", Interval(4.5, 8), "whole number"),
        ("latent_dim", Interval(0, 8), "latent_dim must be from 1"),
        ("latent_dim", Interval(5, 7), "no value of latent_dim lies in it"),
        ("kernel", ("rbf", "nope"), "choose from imq, rbf"),
        ("kernel", Interval(1, 2), "choose from imq, rbf"),
        ("width", Interval(17, 63), "choose from 16, 64, 128"),
    ],
)
def test_a_range_that_cannot_be_is_refused_in_one_line(name: str, asked: Asked, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_range(name, asked, KINDS)
    assert message in str(caught.value) and "\n" not in str(caught.value)
