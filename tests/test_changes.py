"""Changes in words, and what a row of them amounts to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.changes import AUTO, DEFAULT, KINDS, Change, InForce, in_force

TIME = "2026-11-30T11:26:53.123456+00:00"


def change(what: str, value: Any = None, parameter: str | None = None) -> Change:
    return Change(id=f"{TIME}:0", time=TIME, what=what, value=value, parameter=parameter)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (change("max_concurrent", 4), "at most 4 trials at once"),
        (change("max_concurrent", 1), "at most 1 trial at once"),
        (change("max_concurrent", AUTO), "as many trials at once as fit"),
        (change("pause"), "paused"),
        (change("resume"), "resumed"),
        (change("stop_trial", 7), "trial 7 is to end"),
        (change("range", {"low": 0.1, "high": 10}, "weight"), "weight from 0.1 to 10"),
        (change("range", {"choices": ["vae", "wae_mmd"]}, "method"), "method from vae, wae_mmd"),
        (change("range", None, "weight"), "weight as the space says"),
    ],
)
def test_a_change_in_words(made: Change, text: str) -> None:
    assert made.text == text
    assert made.line == f"2026-11-30 11:26:53 UTC: {text}"
    assert "\n" not in made.line


def test_nothing_is_in_force_without_changes() -> None:
    assert in_force([]) == InForce() and InForce().lines() == []
    assert in_force([change("max_concurrent", 4), change("max_concurrent", DEFAULT)]) == InForce()
    assert InForce().limit(3) == 3 and InForce().limit(None) is None


def test_later_changes_replace_earlier_ones() -> None:
    rows = [
        change("max_concurrent", 4),
        change("pause"),
        change("range", {"low": 1, "high": 2}, "weight"),
        change("range", {"choices": ["imq"]}, "kernel"),
        change("stop_trial", 3),
        change("resume"),
        change("max_concurrent", AUTO),
        change("stop_trial", 5),
        change("range", None, "weight"),
    ]
    state = in_force(rows)
    assert state == InForce(AUTO, False, frozenset({3, 5}), {"kernel": {"choices": ["imq"]}})
    assert state.limit(2) is None and in_force(rows[:1]).limit(2) == 4 and in_force(rows[:2]).paused
    assert state.lines() == [
        "as many trials at once as fit",
        "trial 3 is to end",
        "trial 5 is to end",
        "kernel from imq",
    ]


@given(st.lists(st.sampled_from(KINDS)))
def test_each_change_is_in_force_once_however_often_it_is_read(kinds: list[str]) -> None:
    rows = [change(kind, {"max_concurrent": 2, "stop_trial": 1}.get(kind), "weight") for kind in kinds]
    assert in_force(rows) == in_force([*rows, *rows[-1:]]) == in_force(list(rows))
    assert in_force(rows).paused == ([kind for kind in kinds if kind in ("pause", "resume")][-1:] == ["pause"])


@pytest.mark.parametrize(
    ("what", "value", "parameter"),
    [
        ("max_concurrent", "many", None),
        ("max_concurrent", True, None),
        ("max_concurrent", 0, None),
        ("stop_trial", -1, None),
        ("range", {"low": 2, "high": 1}, "weight"),
        ("range", {"low": 1, "high": float("inf")}, "weight"),
        ("stop_trial", None, None),
        ("range", {"low": 1}, "weight"),
        ("range", [1, 2], "weight"),
        ("range", {"low": 1, "high": 2}, None),
    ],
)
def test_what_no_command_writes_is_refused(what: str, value: Any, parameter: str | None) -> None:
    with pytest.raises(ValueError, match=what):
        change(what, value, parameter)


def test_a_time_that_is_none_is_refused_and_a_later_version_s_kind_is_named() -> None:
    with pytest.raises(ValueError, match="isoformat"):
        Change(id="", time="yesterday", what="pause")
    assert change("dance", 3).text == "dance" and in_force([change("dance", 3)]) == InForce()
