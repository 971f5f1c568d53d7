"""What Ray tells the searcher when things go wrong, without Ray."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError
from ray.tune.search import Searcher

from study.disk.files import read_json, write_json
from study.disk.layout import stop_path
from study.search.control import record_change
from study.search.ledger import Ledger
from study.tuning.execute import _killed_for_memory
from study.tuning.interrupts import Interrupts
from study.tuning.searcher import ALL_FAILED_AFTER, LedgerSearcher
from tests.search.test_ledger import VALUES, open_ledger

RESULT = {"epoch": 60, "multiplier": 1.0, **VALUES}
KILLED = """1 worker(s) were killed due to the node running low on memory.
Selected to kill: (Task: job ID=01000000, name=train, pid=4711, used=2GB), (Task: job ID=01000000, pid=12, used=1GB)
]
PID	MEM(GB)	COMMAND
99	1.02	ray::ImplicitFunc.train pid=99
"""


def suggest(searcher: LedgerSearcher, trial_id: str, process: int) -> Path:
    """Hands out a trial as to Ray, and lets its process note its id; gives its folder."""
    suggested: Any = searcher.suggest(trial_id)
    directory = Path(suggested["directory"])
    number = 1 + len(list(directory.glob("attempt-*")))
    (directory / f"attempt-{number}").mkdir()
    write_json(directory / f"attempt-{number}" / "process.json", {"host": "here", "pid": process})
    return directory


def states(searcher: LedgerSearcher) -> list[str]:
    return [trial.state.name for trial in searcher._ledger.trials()]


def test_processes_killed_for_memory_are_known_from_ray_s_text() -> None:
    try:
        raise RuntimeError("Caught unexpected exception") from OutOfMemoryError(KILLED)
    except RuntimeError as error:
        killed = _killed_for_memory(error)
    assert killed is not None
    assert [process for process in (4711, 471, 12, 99, 1) if killed(process)] == [4711, 12]
    assert _killed_for_memory(RuntimeError("pid=4711")) is None


def test_who_is_killed_too_often_fails_and_who_ran_beside_it_goes_on(tmp_path: Path) -> None:
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 4)
    for turn in range(3):
        suggest(searcher, f"hog-{turn}", 4711)
        suggest(searcher, f"other-{turn}", 99)
        searcher.cut_off(lambda process: process == 4711, 2, "out of memory")
    assert states(searcher) == ["FAIL", "RUNNING"]
    assert searcher._ledger.trials()[0].user_attrs["reason"] == "out of memory"
    assert suggest(searcher, "again", 99).name == "0001"
    searcher.on_trial_complete("again", RESULT)
    assert states(searcher) == ["FAIL", "COMPLETE"]
    assert searcher._ledger.tally.running == 0


def test_where_nobody_is_known_to_have_been_killed_all_count(tmp_path: Path) -> None:
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 4)
    suggest(searcher, "one", 1)
    suggest(searcher, "two", 2)
    searcher.cut_off(lambda process: False, 0, "out of memory")
    assert states(searcher) == ["FAIL", "FAIL"]


@pytest.mark.parametrize(("result", "error"), [({"epoch": 2, "failure": "nan"}, False), ({"epoch": 2}, True)])
def test_a_failed_trial_has_trained_what_is_on_record(tmp_path: Path, result: dict[str, Any], error: bool) -> None:
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 1)
    directory = suggest(searcher, "one", 1)
    (directory / "attempt-1" / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n{"epoch"')
    searcher.on_trial_complete("one", result, error)
    outcome = read_json(directory / "outcome.json")
    assert outcome is not None and (outcome["outcome"], outcome["epochs"]) == ("failed", 3)


def test_after_a_disk_error_a_trial_is_left_for_a_later_session(tmp_path: Path) -> None:
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 4)
    suggest(searcher, "one", 1)
    searcher.on_trial_complete("one", {"disk_error": "/a: No space left on device"})
    assert searcher.disk_error == "/a: No space left on device"
    assert searcher.finishing and not searcher.stopping
    assert searcher.suggest("two") == Searcher.FINISHED
    assert states(searcher) == ["RUNNING"]


def test_an_error_of_the_ledger_is_kept_and_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 4)
    suggest(searcher, "one", 1)
    error = OSError(28, "No space left on device")

    def full(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(searcher._ledger, "record", full)
    searcher.on_trial_complete("one", RESULT)
    assert searcher.error is error
    assert searcher.stopping and searcher.suggest("two") == Searcher.FINISHED


def test_failures_alone_end_the_search_and_a_success_prevents_it(tmp_path: Path) -> None:
    for name, first in (("a", {"failure": "the loss became nan"}), ("b", RESULT)):
        searcher = LedgerSearcher(open_ledger(tmp_path / name), 20)
        for number in range(ALL_FAILED_AFTER):
            assert not searcher.finishing
            suggest(searcher, str(number), number)
            searcher.on_trial_complete(str(number), first if number == 0 else {"failure": "the loss became nan"})
        suggest_more = searcher.suggest("more")
        assert (suggest_more == Searcher.FINISHED) == searcher.all_failed == (name == "a")
    outcome = read_json(tmp_path / "a" / "trials" / "0000" / "outcome.json")
    assert outcome is not None and outcome["reason"] == "the loss became nan"


def test_after_the_time_budget_only_what_had_begun_goes_on(tmp_path: Path) -> None:
    suggest(LedgerSearcher(open_ledger(tmp_path / "a"), 2), "cut off", 1)
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 2, deadline=time.time() - 1)
    assert suggest(searcher, "again", 1).name == "0000"
    searcher.on_trial_complete("again", RESULT)
    assert searcher.suggest("new") == Searcher.FINISHED and searcher.limit == "--time-budget"
    assert states(searcher) == ["COMPLETE"]
    whole = LedgerSearcher(open_ledger(tmp_path / "a"), 1, deadline=time.time() - 1)
    assert whole.suggest("none left") == Searcher.FINISHED and whole.limit is None


def test_an_interrupt_ends_the_search_and_a_second_one_its_trials(tmp_path: Path) -> None:
    with Interrupts() as interrupts, interrupts.deferred():
        searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 4, interrupts=interrupts)
        suggest(searcher, "one", 1)
        signal.raise_signal(signal.SIGINT)
        assert searcher.suggest("two") == Searcher.FINISHED and not searcher.stopping
        signal.raise_signal(signal.SIGINT)
        assert searcher.stopping


def change(searcher: LedgerSearcher, what: str, value: Any = None) -> None:
    record_change(searcher._ledger._study, what, value)


def test_a_pause_ends_the_loop_and_hands_out_again_what_it_cut_off(tmp_path: Path) -> None:
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 4)
    assert searcher.goes_on() is True
    suggest(searcher, "one", 1)
    change(searcher, "pause")
    assert searcher.suggest("two") == Searcher.FINISHED and searcher.pausing
    change(searcher, "resume")
    searcher.look()
    assert searcher.pausing  # Ray has been told that there is no other trial, so its loop must end all the same
    searcher.take_back()
    assert searcher.goes_on() is True and not searcher.pausing
    assert suggest(searcher, "again", 1).name == "0000"
    assert [made.what for made in searcher.news()] == ["pause", "resume"] and searcher.news() == []


def test_a_paused_study_waits_until_it_is_resumed_interrupted_late_or_done(tmp_path: Path) -> None:
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 4)
    change(searcher, "pause")
    assert searcher.goes_on() is None and searcher.goes_on() is None
    late = LedgerSearcher(open_ledger(tmp_path / "a"), 4, deadline=time.time() - 1)
    assert late.goes_on() is False and late.limit == "--time-budget"
    with Interrupts() as interrupts, interrupts.deferred():
        interrupted = LedgerSearcher(open_ledger(tmp_path / "a"), 4, interrupts=interrupts)
        assert interrupted.goes_on() is None
        signal.raise_signal(signal.SIGINT)
        assert interrupted.goes_on() is False and interrupted.limit is None
    assert LedgerSearcher(open_ledger(tmp_path / "a"), 0).goes_on() is False  # nothing is left to do
    change(searcher, "resume")
    assert searcher.goes_on() is True


def test_a_pause_after_patience_is_spent_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 4, patience=5)
    change(searcher, "pause")
    assert searcher.goes_on() is None
    monkeypatch.setattr(Ledger, "stale_trials", property(lambda ledger: 5))
    assert searcher.goes_on() is False and searcher.limit == "--patience"


def test_who_is_stopped_by_hand_is_told_and_says_so(tmp_path: Path) -> None:
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 6)
    folders = [suggest(searcher, str(number), number) for number in range(3)]
    change(searcher, "stop_trial", 1)
    change(searcher, "stop_trial", 2)
    searcher.look()
    assert [stop_path(folder).exists() for folder in folders] == [False, True, True]
    assert [searcher.is_stopped(str(number)) for number in range(3)] == [False, True, True]
    searcher.on_trial_complete("0", {**RESULT, "epoch": 15})
    searcher.on_trial_complete("1", {**RESULT, "epoch": 15})
    searcher.on_trial_complete("2", RESULT)  # it came to its end before it heard
    ends = [read_json(folder / "outcome.json") or {} for folder in folders]
    assert [end["outcome"] for end in ends] == ["stopped", "stopped", "completed"]
    assert [end["reason"] for end in ends[:2]] == [
        "stopped after 15 of 60 epochs",
        "stopped by hand after 15 of 60 epochs",
    ]


def test_a_stop_from_before_a_session_reaches_the_trial_that_it_takes_up(tmp_path: Path) -> None:
    first = LedgerSearcher(open_ledger(tmp_path / "a"), 4)
    suggest(first, "one", 1)
    change(first, "stop_trial", 0)
    directory = suggest(LedgerSearcher(open_ledger(tmp_path / "a"), 4), "again", 1)
    assert directory.name == "0000" and stop_path(directory).exists()


@contextlib.contextmanager
def locked(study: Path) -> Iterator[None]:
    """Nobody else can read or write the ledger's file."""
    with contextlib.closing(sqlite3.connect(study / "optuna.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def test_a_database_that_does_not_answer_a_look_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tuning.searcher.LOST_SECONDS", 0)
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 4)
    suggest(searcher, "one", 1)
    with locked(tmp_path / "a"):
        searcher.look()
        assert searcher.lost == "database is locked" and not searcher.stopping
    change(searcher, "pause")
    searcher.look()
    assert searcher.lost is None and searcher.pausing
    searcher.take_back()
    assert searcher.goes_on() is None
    with locked(tmp_path / "a"):
        assert searcher.goes_on() is None and searcher.lost and searcher.error is None
    change(searcher, "resume")
    assert searcher.goes_on() is True


def test_changes_that_cannot_be_read_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = LedgerSearcher(open_ledger(tmp_path / "a"), 4)
    error = OSError(28, "No space left on device")
    monkeypatch.setattr(searcher._ledger.control, "look", lambda: (_ for _ in ()).throw(error))
    assert searcher.suggest("one") == Searcher.FINISHED
    assert searcher.error is error and searcher.stopping
