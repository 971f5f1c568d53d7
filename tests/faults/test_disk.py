"""Disks that fill up while a study runs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.audit import audit, ledger_trials
from study.cli import command_status
from study.sync import main as sync
from tests.faults.harness import as_root, ended, expect_clean, meanwhile, small_disk, study_run, wait_until

pytestmark = as_root
EPOCHS, TRIALS = 32, 4


def arguments(runs: Path) -> list[object]:
    return ["--space", "wae_weight", "--name", "a", "--num-trials", TRIALS, "--epochs", EPOCHS, "--runs-dir", runs]


def fill_when_first_ends(study: Path, fill: Callable[[], Callable[[], None]]) -> list[Callable[[], None]]:
    """To be run beside a study; the list then holds what makes room again."""
    wait_until(lambda: ended(study) >= 1, "end of a trial")
    return [fill()]


def run_and_fill(runs: Path, fill: Callable[[], Callable[[], None]]) -> tuple[int, Callable[[], None]]:
    """Runs the study, fills the disk once a trial has ended, and gives the exit status and what makes room again."""
    room: list[Callable[[], None]] = []
    with meanwhile(lambda: room.extend(fill_when_first_ends(runs / "a", fill))):
        status = study_run(*arguments(runs), "--scheduler", "none")
    return status, room[0]


def resume(runs: Path) -> None:
    assert study_run(*arguments(runs), "--resume") == 0


def test_full_disk_of_the_trials(tmp_path: Path, ray_session: None, capfd: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "a" / "trials", "24m") as fill:
        status, make_room = run_and_fill(tmp_path, fill)
        error = capfd.readouterr().err.strip().splitlines()[-1]
        assert status == 2 and "No space left" in error and "--resume" in error
        states = {trial.state.name for trial in ledger_trials(tmp_path / "a")}
        assert states == {"COMPLETE", "RUNNING"}
        make_room()
        resume(tmp_path)
        expect_clean(
            audit(tmp_path / "a", EPOCHS, trials=TRIALS), "disk full: trials", "tmpfs of 24 MB, filled; resumed"
        )


def test_full_disk_of_the_ledger(tmp_path: Path, ray_session: None, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "elsewhere").mkdir()
    with small_disk(tmp_path / "a", "8m") as fill:
        trials = tmp_path / "a" / "trials"
        trials.mkdir()
        subprocess.run(["mount", "--bind", str(tmp_path / "elsewhere"), str(trials)], check=True)
        try:
            status, make_room = run_and_fill(tmp_path, fill)
            error = capfd.readouterr().err.strip().splitlines()[-1]
            assert status == 2 and "--resume" in error and ("full" in error or "No space left" in error)
            make_room()
            resume(tmp_path)
            found = audit(tmp_path / "a", EPOCHS, trials=TRIALS)
            expect_clean(found, "disk full: ledger", "tmpfs of 8 MB, filled; resumed")
        finally:
            subprocess.run(["umount", "--lazy", str(trials)], check=True)


def test_full_disk_of_mlflow(
    tmp_path: Path, ray_session: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "store" / "mlflow.db"
    uri = f"sqlite:///{database}"
    monkeypatch.setattr("study.session.session.MIRROR_SECONDS", 20)
    with small_disk(database.parent, "24m") as fill:
        room: list[Callable[[], None]] = []
        with meanwhile(lambda: room.extend(fill_when_first_ends(tmp_path / "a", fill))):
            assert study_run(*arguments(tmp_path), "--scheduler", "none", "--tracking-uri", uri) == 0
        captured = capfd.readouterr()
        assert captured.err.count("cannot be written") == 1
        assert "python -m study.sync --study a" in captured.out
        room[0]()
        assert command_status(sync, ["--study", "a", "--runs-dir", str(tmp_path), "--tracking-uri", uri]) == 0
        found = audit(tmp_path / "a", EPOCHS, trials=TRIALS, mlflow=database)
        expect_clean(found, "disk full: MLflow", "tmpfs of 24 MB, filled; study.sync")
