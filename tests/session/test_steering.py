"""What is asked for is checked as a whole before anything of it is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study.changes import InForce
from study.checks.finding import Finding
from study.checks.study import check_ledger
from study.config import UserError
from study.disk.lock import driving
from study.disk.study_json import read_study
from study.results.frame import load_study
from study.search.asked_ranges import Interval
from study.search.ledger import Ledger
from study.search.ledger_file import rebuild
from study.session.resuming import begin_anew
from study.session.steering import Wishes, steer
from study.space import load_space
from study.status import lines, read_status
from tests.helpers_study import study_record
from tests.search.test_ledger import VALUES, open_ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A study `toy` of wae_weight in `tmp_path`: trial 0 has ended, 1 and 2 have begun, one waits."""
    write_record(tmp_path)
    found = open_ledger(tmp_path / "toy")
    for _ in range(3):
        assert found.next(20) is not None
    found.record(0, "completed", epochs=60, values=VALUES)
    found.replicate(0, [7])
    return found


def write_record(runs: Path, **changes: Any) -> None:
    loaded = load_space("wae_weight")
    (runs / "toy").mkdir(exist_ok=True)
    fields = {"space": "wae_weight", "space_hash": loaded.hash, "epochs": None, "outcome": "interrupted", **changes}
    (runs / "toy" / "study.json").write_text(json.dumps(study_record(**fields)))


def ask(runs: Path, **wishes: Any):
    return steer(runs, "toy", Wishes(**wishes))


def test_without_wishes_it_only_reads(tmp_path: Path, ledger: Ledger) -> None:
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "toy").glob("*.json")}
    found = ask(tmp_path)
    assert found.in_force == InForce() and found.changes == [] and found.recorded == [] and not found.is_running
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "toy").glob("*.json")} == before


def test_everything_at_once(tmp_path: Path, ledger: Ledger) -> None:
    ranges = {"weight": Interval(0.1, 10), "kernel": ("rbf",), "latent_dim": Interval(8, 16)}
    found = ask(tmp_path, max_concurrent=4, pause=True, stop_trials=(2, 1, 2), ranges=ranges)
    assert [change.what for change in found.recorded] == [
        "max_concurrent",
        "pause",
        *["stop_trial"] * 2,
        *["range"] * 3,
    ]
    expected = InForce(
        4,
        True,
        frozenset({1, 2}),
        {
            "weight": {"low": 0.1, "high": 10.0},
            "kernel": {"choices": ["rbf"]},
            "latent_dim": {"choices": [8, 16]},
        },
    )
    assert found.in_force == expected
    ledger.control.look()
    assert ledger.control.state == expected and ledger.control.changes == found.changes
    record = read_study(tmp_path / "toy")
    assert record is not None and list(record.changes) == found.changes  # nobody runs the study
    status = read_status(tmp_path, "toy")
    text = "\n".join(lines(status, "toy"))
    assert status.state == "interrupted" and "--resume" in status.pause and len(status.changes) == 7
    assert "at most 4 trials at once" in text and "kernel from rbf" in text
    assert load_study(tmp_path, "toy").study.changes == record.changes


def test_what_is_in_force_already_is_not_recorded_again(tmp_path: Path, ledger: Ledger) -> None:
    wishes = {"max_concurrent": 2, "pause": True, "stop_trials": (1,), "ranges": {"weight": Interval(1, 2)}}
    assert len(ask(tmp_path, **wishes).recorded) == 4
    assert ask(tmp_path, **wishes).recorded == []
    assert [change.what for change in ask(tmp_path, resume=True).recorded] == ["resume"]
    assert ask(tmp_path, resume=True).recorded == [] and not ask(tmp_path).in_force.paused
    again = ask(tmp_path, max_concurrent="auto", ranges={"weight": None, "kernel": None})
    assert [change.text for change in again.recorded] == ["as many trials at once as fit", "weight as the space says"]
    assert again.in_force == InForce("auto", False, frozenset({1}))
    assert [change.value for change in ask(tmp_path, max_concurrent="default").recorded] == ["default"]
    assert ask(tmp_path, max_concurrent="default").recorded == []
    ledger.record(1, "stopped", epochs=15, values=VALUES)
    assert ask(tmp_path).in_force == InForce()


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"stop_trials": (0,)}, "--stop-trial 0: the trial has ended"),
        ({"stop_trials": (3,)}, "--stop-trial 3: the trial has not begun"),
        ({"stop_trials": (4,)}, "there is no such trial, the study has 0 to 3"),
        ({"stop_trials": (-1,)}, "there is no such trial"),
        ({"max_concurrent": 0}, "--max-concurrent 0: it must be auto, default or a whole number from 1"),
        ({"max_concurrent": 1.5}, "--max-concurrent 1.5"),
        ({"max_concurrent": "many"}, "--max-concurrent many"),
        ({"pause": True, "resume": True}, "give one of the two"),
        ({"ranges": {"nope": Interval(1, 2)}}, "it searches kernel, latent_dim, weight"),
        ({"ranges": {"encoder": ("gaussian",)}}, "does not search encoder"),
        ({"ranges": {"weight": Interval(2, 1)}}, "is empty"),
    ],
)
def test_one_mistake_and_nothing_is_recorded(tmp_path: Path, ledger: Ledger, wishes: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        ask(tmp_path, **{"max_concurrent": 3, **wishes})
    assert message in str(caught.value)
    assert ask(tmp_path).changes == []


def test_what_a_grid_or_an_option_defines_stays(tmp_path: Path, ledger: Ledger) -> None:
    write_record(tmp_path, grid=True)
    with pytest.raises(UserError, match="is a grid, which defines the values"):
        ask(tmp_path, ranges={"weight": Interval(1, 2)})
    write_record(tmp_path, epochs=12)
    with pytest.raises(UserError, match="--epochs 12, which sets it for all trials"):
        ask(tmp_path, ranges={"epochs": Interval(1, 2)})


def test_a_study_whose_space_is_not_at_hand_knows_what_it_has_searched(tmp_path: Path, ledger: Ledger) -> None:
    write_record(tmp_path, space="gone", space_hash="0a" * 32)
    found = ask(tmp_path, ranges={"weight": Interval(1, 2)})
    assert found.in_force.ranges == {"weight": {"low": 1.0, "high": 2.0}}
    with pytest.raises(UserError, match="it searches kernel, latent_dim, weight"):
        ask(tmp_path, ranges={"width": Interval(1, 2)})


def test_a_study_without_a_ledger_or_none_at_all(tmp_path: Path) -> None:
    write_record(tmp_path)
    with pytest.raises(UserError, match="has no ledger yet"):
        ask(tmp_path, pause=True)
    with pytest.raises(UserError, match=r"no study 'nope'.*toy"):
        steer(tmp_path, "nope", Wishes())


def test_a_driver_at_work_writes_the_record_itself(tmp_path: Path, ledger: Ledger) -> None:
    with driving(tmp_path / "toy"):
        found = ask(tmp_path, pause=True)
        assert found.is_running
    record = read_study(tmp_path / "toy")
    assert record is not None and record.changes == ()


def test_a_rebuilt_ledger_has_the_changes(tmp_path: Path, ledger: Ledger) -> None:
    asked = ask(tmp_path, max_concurrent=2, ranges={"weight": Interval(1, 2)}).changes
    record = read_study(tmp_path / "toy")
    assert record is not None
    rebuild(tmp_path / "toy", record, load_space("wae_weight").space)
    assert ask(tmp_path).changes == asked
    assert open_ledger(tmp_path / "toy").control.state.ranges == {"weight": {"low": 1.0, "high": 2.0}}


def test_a_ledger_in_a_file_is_not_written_from_another_machine(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "toy" / "driver.json").write_text('{"host": "elsewhere", "pid": 1, "begun": 0}')
    with pytest.raises(UserError, match="runs on elsewhere and its ledger is a file"):
        ask(tmp_path, pause=True)
    assert ask(tmp_path).changes == []


def test_a_study_that_begins_anew_says_what_is_no_longer_in_force(tmp_path: Path, ledger: Ledger) -> None:
    ask(tmp_path, pause=True, max_concurrent=2)
    note = begin_anew(tmp_path / "toy")
    assert "before-1 has the rest" in note and note.endswith("no longer in force: at most 2 trials at once; paused")
    assert not (tmp_path / "toy" / "trials").exists()


def test_doctor_names_a_record_that_is_damaged(tmp_path: Path, ledger: Ledger) -> None:
    def seen() -> list[Finding]:
        return [found for found in check_ledger(tmp_path / "toy", None, None) if found.subject == "changes"]

    assert seen() == []
    ask(tmp_path, pause=True)
    assert seen() == [Finding("changes", "1 of study control")]
    ledger._study.set_user_attr("control:b", {"id": "b", "time": "yesterday", "what": "pause"})
    [found] = seen()
    assert "'control:b' is damaged" in found.seen and "--rebuild-ledger" in found.remedy
    with pytest.raises(UserError, match="'control:b' is damaged"):
        ask(tmp_path)
