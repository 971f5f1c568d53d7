"""Errors of a user's own code are told with their place, those of libraries are not taken for such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from study.errors import located, located_errors


def _raised_in(path: Path) -> BaseException:
    path.parent.mkdir(parents=True)
    path.write_text("def fail():\n    raise ValueError('no')\n")
    space: dict[str, Any] = {}
    exec(compile(path.read_text(), path, "exec"), space)
    with pytest.raises(ValueError) as caught:
        space["fail"]()
    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ is not None else None  # without this file
    return error


@pytest.mark.parametrize(
    ("folder", "is_users"),
    [
        ("home/me", True),
        ("home/site-packages.old", True),
        ("usr/lib/python3/dist-packages/optuna", False),
        ("venv/lib/python3.11/site-packages/optuna", False),
    ],
)
def test_a_library_is_no_code_of_the_users(tmp_path: Path, folder: str, is_users: bool) -> None:
    path = tmp_path / folder / "module.py"
    expected = f"{path}, line 2: ValueError: no" if is_users else None
    assert located(_raised_in(path)) == expected


@pytest.mark.parametrize("others", [True, False])
def test_a_ledger_that_fails_beneath_a_users_code_is_no_error_of_the_code(others: bool) -> None:
    lost = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
    with pytest.raises(optuna.exceptions.StorageInternalError) as caught, located_errors(others=others):
        raise lost
    assert caught.value is lost and located(lost) is None
