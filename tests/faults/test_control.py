"""A study is steered five times, and its driver is killed after each change: every change is in force exactly once."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.audit import audit, ledger_trials
from study.cli import command_status
from study.control import control
from study.disk.files import read_json
from study.status import read_status
from tests.faults.harness import Driver, ended, epochs_of, expect_clean

TRIALS, EPOCHS = 24, 96
NAME = "a"


def begin(runs: Path, *more: object) -> Driver:
    """Begins the study or takes it up. Three trials fit, on one core each, if their number were not limited."""
    options = ["--space", "wae_weight", "--name", NAME, "--runs-dir", runs, "--num-trials", TRIALS]
    options += ["--epochs", EPOCHS, "--max-concurrent", 1, "--cpus-per-trial", 0.5, "--scheduler", "none"]
    return Driver(*options, *more)


def steer(runs: Path, *options: object) -> None:
    words = ["--study", NAME, "--runs-dir", str(runs), *map(str, options)]
    assert command_status(control, words) == 0


def running(study: Path) -> list[int]:
    return [trial.number for trial in ledger_trials(study) if trial.state.name == "RUNNING"]


def kill(driver: Driver) -> None:
    """As `kill -9` of the driver, and nothing else."""
    os.kill(driver.process.pid, signal.SIGKILL)
    driver.end()


def steered_and_killed(runs: Path, options: list[object], took_up: Callable[[], Any] | None, *more: object) -> None:
    """A session in which a change is made; the driver is killed once the change shows, or at once."""
    study = runs / NAME
    before = ended(study)
    driver = begin(runs, *more)
    driver.wait_until(lambda: ended(study) > before and running(study), "trial under way after another has ended")
    steer(runs, *options)
    if took_up is not None:
        driver.wait_until(took_up, f"driver that takes up {options}")
    kill(driver)


def changes(study: Path) -> list[str]:
    return [entry["what"] for entry in (read_json(study / "study.json") or {}).get("changes", ())]


def test_a_study_is_steered_five_times_and_killed_after_each(tmp_path: Path) -> None:
    study = tmp_path / NAME

    # More trials at once: the second one begins.
    steered_and_killed(tmp_path, ["--max-concurrent", 2], lambda: len(running(study)) == 2)

    # A pause: what runs is cut off; after the kill the study waits, although its trials are not done.
    steered_and_killed(tmp_path, ["--pause"], lambda: "pause" in changes(study), "--resume")
    done = ended(study)
    driver = begin(tmp_path, "--resume")
    driver.wait_until(lambda: read_status(tmp_path, NAME).state == "paused", "paused driver")
    assert ended(study) == done and "control --study a --resume" in read_status(tmp_path, NAME).pause

    # The end of the pause, in that session; killed before it is known to be taken up.
    steer(tmp_path, "--resume")
    kill(driver)

    # One trial ends by hand, after the driver had died and been started again.
    driver = begin(tmp_path, "--resume")
    driver.wait_until(lambda: [n for n in running(study) if newest_epochs(study, n) in range(1, 40)], "young trial")
    stopped = max(running(study))
    steer(tmp_path, "--stop-trial", stopped)
    kill(driver)

    # Narrower ranges, for suggestions from now on.
    known = len(ledger_trials(study))
    steered_and_killed(
        tmp_path,
        ["--range", "weight=0.5..1", "--range", "kernel=rbf"],
        lambda: changes(study).count("range") == 2,
        "--resume",
    )
    known = len(ledger_trials(study))

    status, output = begin(tmp_path, "--resume").end()
    assert status == 0 and "Traceback" not in output, output
    assert "in force: at most 2 trials at once" in output

    trials = ledger_trials(study)
    assert [trial.number for trial in trials] == [*range(TRIALS)]
    assert changes(study) == ["max_concurrent", "pause", "resume", "stop_trial", "range", "range"]
    ends = {n: json.loads((study / "trials" / f"{n:04d}" / "outcome.json").read_text()) for n in range(TRIALS)}
    by_hand = [n for n, end in ends.items() if end["outcome"] == "stopped"]
    assert by_hand == [stopped]
    assert re.fullmatch(rf"stopped by hand after \d+ of {EPOCHS} epochs", ends[stopped]["reason"])
    assert 0 < ends[stopped]["epochs"] < EPOCHS
    assert not any(name.startswith("rung:") for trial in trials for name in trial.user_attrs)
    suggested = [trial.params for trial in trials[known:] if "origin" not in trial.user_attrs]
    assert suggested and all(0.5 <= params["weight"] <= 1 and params["kernel"] == "rbf" for params in suggested)
    found = audit(study, EPOCHS, trials=TRIALS, stopped={stopped: ends[stopped]["epochs"]})
    expect_clean(
        found, "driver killed after each of five changes", "kill -9; concurrency, pause, resume, stop, range", 5
    )


def newest_epochs(study: Path, number: int) -> int:
    """Epochs that a trial's newest attempt has written."""
    attempts = sorted((study / "trials" / f"{number:04d}").glob("attempt-*"), key=lambda path: int(path.name[8:]))
    return epochs_of(attempts[-1]) if attempts else 0
