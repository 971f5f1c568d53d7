"""Changes as records of a ledger, in its own file and on a server."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from benchmarks.postgresql import postgresql, programs
from study.changes import Change, InForce
from study.errors import UserError
from study.search.control import record_change, recorded_changes, store_change
from study.search.storage import open_storage
from tests.search.test_ledger import open_ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql(folder) as server:
        yield server


def test_two_writers_at_once_lose_nothing(url: str) -> None:
    first = optuna.create_study(study_name="a", storage=open_storage(url))

    def write(begin: int) -> None:
        study = optuna.load_study(study_name="a", storage=open_storage(url))
        for number in range(begin, begin + 5):
            record_change(study, "stop_trial", number)

    writers = [threading.Thread(target=write, args=(begin,)) for begin in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    changes = recorded_changes(first)
    numbers = [change.value for change in changes]
    assert sorted(numbers) == [*range(5), *range(100, 105)]
    assert [number for number in numbers if number < 100] == [*range(5)]  # each writer's in their order
    assert len({change.id for change in changes}) == 10


def test_a_change_comes_after_those_of_a_clock_that_is_ahead() -> None:
    study = optuna.create_study()
    ahead = "2099-01-01T00:00:00.000000+00:00"
    store_change(study, Change(id=f"{ahead}:f", time=ahead, what="pause"))
    record_change(study, "resume")
    record_change(study, "max_concurrent", 2)
    assert [change.what for change in recorded_changes(study)] == ["pause", "resume", "max_concurrent"]


def test_what_only_a_later_version_knows_is_left_out() -> None:
    study = optuna.create_study()
    record_change(study, "dance", 3)
    record_change(study, "pause")
    study.set_user_attr("hypervolume_reference", [1.0])
    [kept] = recorded_changes(study)
    study.set_user_attr(f"control:{kept.id}", {**dataclasses.asdict(kept), "why": "a later version's field"})
    assert [change.what for change in recorded_changes(study)] == ["pause"]


def test_a_ledger_knows_the_changes_of_earlier_sessions_and_sees_new_ones_once(tmp_path: Path) -> None:
    open_ledger(tmp_path / "a")
    study = optuna.load_study(study_name="a", storage=f"sqlite:///{tmp_path}/a/optuna.db")
    record_change(study, "pause")
    ledger = open_ledger(tmp_path / "a")
    assert ledger.control.state == InForce(paused=True) and ledger.control.look() == []
    record_change(study, "resume")
    record_change(study, "range", {"low": 1.0, "high": 2.0}, "weight")
    assert [change.what for change in ledger.control.look()] == ["resume", "range"]
    assert ledger.control.look() == []
    assert ledger.control.state == InForce(ranges={"weight": {"low": 1.0, "high": 2.0}})
    assert len(ledger.control.changes) == 3


@pytest.mark.parametrize("value", [None, "pause", [], {}, {"what": "pause"}, {"what": "max_concurrent", "value": -3}])
def test_a_damaged_record_is_named(value: object) -> None:
    study = optuna.create_study()
    if isinstance(value, dict) and "value" in value:
        value = {"id": "a", "time": "2026-11-30T11:26:53+00:00", **value}
    study.set_user_attr("control:a", value)
    with pytest.raises(UserError, match="'control:a' is damaged or of a later version"):
        recorded_changes(study)
