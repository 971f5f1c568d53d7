"""Studies that are steered while they run: a pause between rungs, one that is interrupted, one beyond the budget."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import study
from benchmarks.audit import ledger_trials
from study.disk.layout import attempt_folders, trial_path
from study.disk.study_json import read_study
from study.search.trial_record import rung_results
from tests.faults.harness import meanwhile, wait_until
from tests.test_run import study_run
from tests.tuning.test_searcher import locked

pytestmark = pytest.mark.usefixtures("ray_session")


def options(runs: Path, *more: object) -> list[object]:
    return ["--space", "wae_weight", "--name", "a", "--runs-dir", runs, *more]


def steer(runs: Path, **wishes: Any) -> None:
    study.control_study(runs / "a", **wishes)


def written(directory: Path) -> int:
    """Epochs on record, of all attempts."""
    return sum(len(path.read_text().splitlines()) for path in directory.glob("trials/*/attempt-*/metrics.jsonl"))


def test_a_pause_between_rungs_decides_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "a"

    def at_a_rung() -> bool:
        return trial_path(directory, 0).exists() and bool(rung_results(ledger_trials(directory)))

    def cut_off() -> bool:
        record = read_study(directory)
        assert record is not None
        return bool(record.changes)

    def pause() -> None:
        wait_until(at_a_rung, "result at a rung")
        steer(tmp_path, pause=True)
        wait_until(cut_off, "paused driver")
        time.sleep(6)  # longer than Ray waits for what it cuts off
        before = written(directory)
        time.sleep(1)
        assert written(directory) == before
        steer(tmp_path, resume=True)

    with meanwhile(pause):
        assert study_run(*options(tmp_path, "--num-trials", 4, "--epochs", 240)) == 0
    output = capsys.readouterr().out
    assert output.count("paused: study control --study a --resume") == output.count("changed: resumed") == 1
    trials = ledger_trials(directory)
    assert [trial.number for trial in trials] == [*range(4)]
    ended = {(result.number, result.epoch): result.goes_on for result in rung_results(trials)}
    for trial in trials:
        attributes = trial.user_attrs
        assert attributes["outcome"] in ("completed", "stopped")
        if attributes["outcome"] == "stopped":
            assert ended[trial.number, attributes["epochs"]] is False
    assert max(len(attempt_folders(trial_path(directory, number))) for number in range(4)) == 2


def test_a_study_resumed_while_paused_waits_for_the_end_of_the_pause_or_of_the_budget_before_it_joins_a_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study_run(*options(tmp_path, "--num-trials", 1, "--epochs", 2)) == 0
    steer(tmp_path, pause=True, max_concurrent=1)
    capsys.readouterr()
    resume = options(tmp_path, "--resume", "--num-trials", 3)
    assert study_run(*resume, "--time-budget", 3) == 0
    output = capsys.readouterr().out
    assert "paused: study control --study a --resume" in output and "ended by --time-budget" in output
    assert output.count("in force: at most 1 trial at once") == 1 and "preparing" not in output
    assert len(ledger_trials(tmp_path / "a")) == 1

    for number in (signal.SIGINT, signal.SIGTERM):

        def interrupt(number: int = number) -> None:
            wait_until(lambda: (tmp_path / "a" / "driver.json").exists(), "driver")
            wait_until(lambda: "paused: " in capsys.readouterr().out, "paused driver")
            with locked(tmp_path / "a"):
                wait_until(lambda: "does not answer (database is locked)" in capsys.readouterr().out, "look")
            os.kill(os.getpid(), number)

        with meanwhile(interrupt):
            assert study_run(*resume) == 130
        assert json.loads((tmp_path / "a" / "study.json").read_text())["outcome"] == "interrupted"
    steer(tmp_path, resume=True)
    assert study_run(*resume) == 0
    assert [trial.user_attrs["outcome"] for trial in ledger_trials(tmp_path / "a")] == ["completed"] * 3
    record = read_study(tmp_path / "a")
    assert record is not None and [change.what for change in record.changes] == ["max_concurrent", "pause", "resume"]


def test_what_is_changed_while_the_session_ends_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(*arguments: object) -> bool:
        steer(tmp_path, max_concurrent=3)
        return True

    monkeypatch.setattr("study.session.session._close", close)
    assert study_run(*options(tmp_path, "--num-trials", 1, "--epochs", 2)) == 0
    record = read_study(tmp_path / "a")
    assert record is not None and [change.value for change in record.changes] == [3]
