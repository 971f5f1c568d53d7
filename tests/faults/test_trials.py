"""Trials that fail, each in its own way, in a study whose other trials do not."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from benchmarks.audit import audit, ledger_trials
from study.disk.files import read_json
from study.tuning.leaving import MARK
from tests.faults.harness import Driver, epochs_of, expect_clean, meanwhile, study_run, wait_until

SPACE = """
from study.space import SearchSpace

def suggest(trial, data):
    return {"latent_dim": trial.suggest_int("latent_dim", 2, 16)}

def baselines(data):
    return [%s]

SPACE = SearchSpace(question="What if?", suggest=suggest, baselines=baselines)
"""
SOUND, RAISES, NAN = '{"seed": %d}', '{"width": 10**9 + %d}', '{"learning_rate": 1e30, "seed": %d}'


def write_space(path: Path, *kinds: str) -> Path:
    """A space whose first trials are these."""
    path.write_text(SPACE % ", ".join(kind % number for number, kind in enumerate(kinds)))
    return path


def kill(attempt: Path, after_epochs: int) -> None:
    """Kills the process of an attempt once it has come so far."""
    process = wait_until(lambda: read_json(attempt / "process.json"), f"process in {attempt}")
    wait_until(lambda: epochs_of(attempt) >= after_epochs, f"epoch in {attempt}")
    os.kill(process["pid"], signal.SIGKILL)


def test_failing_trials_fail_alone(tmp_path: Path, ray_session: None, capfd: pytest.CaptureFixture[str]) -> None:
    space = write_space(tmp_path / "faulty.py", SOUND, RAISES, NAN, SOUND, SOUND, SOUND)
    trials = tmp_path / "a" / "trials"
    once = trials / "0003"
    always = [trials / "0004" / f"attempt-{number}" for number in (1, 2, 3)]
    kills = [lambda: kill(once / "attempt-1", 9), *(lambda attempt=attempt: kill(attempt, 1) for attempt in always)]
    arguments = ["--space", space, "--name", "a", "--num-trials", 6, "--epochs", 32, "--runs-dir", tmp_path]
    with meanwhile(*kills):
        assert study_run(*arguments, "--scheduler", "none", "--max-failures", 2) == 0
    reasons = {trial.number: trial.user_attrs["reason"] for trial in ledger_trials(tmp_path / "a")}
    assert "allocate" in reasons[1] and reasons[1].endswith("(twice)")
    assert "learning_rate" in reasons[2]
    assert "died" in reasons[4]
    attempts = {path.name: len(list(path.glob("attempt-*"))) for path in trials.iterdir()}
    assert attempts == {"0000": 1, "0001": 2, "0002": 1, "0003": 2, "0004": 3, "0005": 1}
    assert epochs_of(once / "attempt-2") < 32  # from a checkpoint, not from the start
    output = capfd.readouterr().out
    assert "3 trials failed; the first, trial 1" in output and output.count("DefaultCPUAllocator") == 1
    found = audit(tmp_path / "a", 32, trials=6, failed=(1, 2, 4))
    expect_clean(found, "trial raises, each time", "a layer of 10^9 units")
    expect_clean(found, "loss becomes NaN", "learning rate 1e30")
    expect_clean(found, "trial process killed once", "kill -9 after epoch 9")
    expect_clean(found, "trial process killed each time", "kill -9, --max-failures 2", 3)


def test_a_trial_that_was_moved_has_not_failed(tmp_path: Path) -> None:
    mark, trial = tmp_path / "leaving", tmp_path / "m" / "trials" / "0000"
    options = ["--space", "wae_weight", "--name", "m", "--runs-dir", tmp_path, "--num-trials", 1, "--epochs", 240]
    driver = Driver(*options, "--scheduler", "none", "--max-failures", 0, environment={MARK: str(mark)})
    driver.wait_until(lambda: epochs_of(trial / "attempt-1") > 20, "an epoch")
    mark.touch()
    driver.wait_until(lambda: _waits(trial / "attempt-1"), "a trial that waits for its node's end")
    trained = epochs_of(trial / "attempt-1")
    mark.unlink()
    # The process is gone, and its node is not: as if Ray had not yet missed the node, and so it counts a failure.
    kill(trial / "attempt-1", 0)
    status, output = driver.end()
    assert status == 0, output
    assert trained < 240 == trained + epochs_of(trial / "attempt-2")
    found = audit(tmp_path / "m", 240, trials=1)
    expect_clean(found, "node told to end", "its trial's process killed; --max-failures 0")


def _waits(attempt: Path) -> bool:
    """Whether its last epoch was saved, and no other has come since: evaluations come before."""
    trained = epochs_of(attempt)
    if not (attempt / f"checkpoint-{trained:06}.pt").exists():
        return False
    time.sleep(5)
    return trained == epochs_of(attempt)


def test_a_study_of_failures_ends_early(tmp_path: Path, ray_session: None, capfd: pytest.CaptureFixture[str]) -> None:
    space = write_space(tmp_path / "all_failed.py", *[NAN] * 20)
    arguments = ["--space", space, "--name", "h", "--num-trials", 20, "--epochs", 2, "--runs-dir", tmp_path]
    assert study_run(*arguments) == 1
    output = capfd.readouterr().out
    assert output.count("the loss became") == 1 and "no trial succeeded" in output
    ended = len(ledger_trials(tmp_path / "h"))
    assert 4 <= ended <= 6
    found = audit(tmp_path / "h", 2, failed=range(ended))
    expect_clean(found, "every trial fails", "learning rate 1e30 in all 20", ended)
