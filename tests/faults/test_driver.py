"""The driver is interrupted, stopped and killed, one after another, in one study; it is whole at the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.audit import audit, ledger_trials, merged_epochs, mlflow_runs
from study.files import read_json
from study.training import checkpoint
from tests.faults.harness import Driver, as_root, ended, epochs_of, expect_clean, small_disk
from tests.faults.harness import study_run as study_run_here

EPOCHS, TRIALS = 240, 10


@pytest.fixture(scope="module")
def locked_home(tmp_path_factory: pytest.TempPathFactory):
    """A home folder that nobody can write, root neither; an ordinary one where mounting is not allowed."""
    home = tmp_path_factory.mktemp("home")
    if os.geteuid() != 0:
        yield home
        return
    with small_disk(home, "1m"):
        subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
        yield home


def statuses(study: Path) -> dict[int | None, str]:
    identity = str((read_json(study / "study.json") or {})["id"])
    return {run.number: run.status for run in mlflow_runs(study.parent / "mlflow.db", identity)}


def running(study: Path) -> list[int]:
    return [trial.number for trial in ledger_trials(study) if trial.state.name == "RUNNING"]


def newest(study: Path, number: int) -> Path:
    attempts = (study / "trials" / f"{number:04d}").glob("attempt-*")
    return max(attempts, key=lambda path: int(path.name[8:]))


def with_checkpoints(study: Path, least: int = 2) -> list[int]:
    """Trials under way that have so many checkpoints."""
    return [
        int(path.name)
        for path in sorted((study / "trials").glob("*"))
        if not (path / "outcome.json").exists() and len(list(path.glob("attempt-*/*.pt"))) >= least
    ]


def test_signals_and_kills(tmp_path: Path, locked_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "a"
    shared = ["--space", "wae_weight", "--name", "a", "--runs-dir", tmp_path]
    options = [*shared, "--num-trials", TRIALS, "--epochs", EPOCHS, "--scheduler", "none"]

    def start(*more: object) -> Driver:
        return Driver(*options, *more, environment={"HOME": str(locked_home)})

    # A second driver is refused; SIGTERM stops at once.
    driver = start()
    both = driver.wait_until(lambda: (found := with_checkpoints(study)) and len(found) >= 2 and found, "checkpoints")
    assert study_run_here(*shared, "--resume") == 2
    refused = capfd.readouterr().err
    assert f"process {driver.process.pid} on {socket.gethostname()}" in refused
    driver.process.send_signal(signal.SIGTERM)
    status, output = driver.end()
    assert status == 130, output
    assert "Traceback" not in output
    cut_off = running(study)
    assert set(both[:2]) <= set(cut_off)
    assert (read_json(study / "study.json") or {})["outcome"] == "interrupted"
    assert {statuses(study)[number] for number in cut_off} == {"KILLED"}
    assert statuses(study)[None] == "KILLED"

    # The newest checkpoint of one is truncated, of the other bit-flipped: both go on from the one before.
    for number, damage in zip(cut_off, (_truncate, _flip), strict=False):
        damage(max((newest(study, number)).glob("*.pt")))
    driver = start("--resume")
    driver.wait_until(lambda: ended(study) >= 2, "end of two trials")
    driver.press_control_c()
    status, output = driver.end()
    assert status == 130, output
    assert "stopping when the running trials have ended" in output and "Traceback" not in output
    assert running(study) == []
    assert ended(study) < TRIALS
    for number in cut_off:
        attempt = newest(study, number)
        assert "checksum" in (attempt / "warnings.txt").read_text()
        assert 0 < epochs_of(attempt) < EPOCHS

    # SIGINT twice stops at once; then one trial loses all its checkpoints, the other half a line of its metrics.
    driver = start("--resume")
    driver.wait_until(lambda: len(with_checkpoints(study, 1)) >= 2, "checkpoints")
    driver.press_control_c()
    time.sleep(0.5)  # signals that follow at once are one
    driver.press_control_c()
    status, output = driver.end()
    assert status == 130, output
    cut_off = running(study)
    assert len(cut_off) == 2
    for path in newest(study, cut_off[0]).glob("*.pt"):
        path.unlink()
    metrics = newest(study, cut_off[1]) / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-40])

    # The driver is killed; a process it left behind writes on while the next driver runs.
    driver = start("--resume")
    driver.wait_until(lambda: ended(study) >= 5, "end of more trials")
    driver.wait_until(lambda: with_checkpoints(study, 1), "checkpoint")
    orphaned = newest(study, with_checkpoints(study, 1)[0])
    driver.process.kill()
    driver.end()
    assert "no sound checkpoint" in (newest(study, cut_off[0]) / "warnings.txt").read_text()
    driver = start("--resume")
    for epoch in range(1, 3 * EPOCHS, 7):
        time.sleep(0.02)
        with open(orphaned / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"epoch": epoch, "time": 1.8e9, "train/loss": -1.0}) + "\n")
    driver.wait_until(lambda: (study / "trials" / f"{TRIALS - 1:04d}").exists(), "last trial")
    status, output = driver.end()
    assert status == 0, output
    assert -1.0 not in {loss for trial in (study / "trials").iterdir() for loss in _until_end(trial)}
    found = audit(study, EPOCHS, trials=TRIALS)
    expect_clean(found, "SIGTERM to the driver", "kill; resumed")
    expect_clean(found, "SIGINT once", "Ctrl-C to the process group; resumed")
    expect_clean(found, "SIGINT twice", "Ctrl-C Ctrl-C to the process group; resumed")
    expect_clean(found, "driver killed", "kill -9; resumed")
    expect_clean(found, "second driver", "started beside the first; refused")
    expect_clean(found, "checkpoint truncated", "cut to half; resumed")
    expect_clean(found, "checkpoint bit-flipped", "one bit; resumed")
    expect_clean(found, "checkpoints deleted", "all of a trial; resumed")
    expect_clean(found, "metrics.jsonl truncated", "40 bytes off its end; resumed")
    expect_clean(found, "orphan writes on", "lines appended to an attempt that was given up")
    if os.geteuid() == 0:
        expect_clean(found, "no permission on HOME", "read-only file system", 5)


def _until_end(trial: Path) -> list[float]:
    return [loss for epoch, loss in merged_epochs(trial).items() if epoch <= EPOCHS]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.load(path)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@as_root
def test_ray_kills_for_memory(tmp_path: Path) -> None:
    """Ray sees a machine without memory while two trials run: it kills one, or both, and the study goes on."""
    study = tmp_path / "a"
    meminfo = tmp_path / "meminfo"
    real = Path("/proc/meminfo").read_text()

    def pretend(available: str) -> None:
        lines = [
            f"MemAvailable:   {available:>8} kB" if line.startswith("MemAvailable") else line
            for line in real.splitlines()
        ]
        with open(meminfo, "r+" if meminfo.exists() else "w") as file:  # in place: it is what is mounted
            file.write("\n".join(lines) + "\n")

    total = next(line.split()[1] for line in real.splitlines() if line.startswith("MemTotal"))
    pretend(str(int(total) // 2).rjust(8))
    mount = f"mount --bind {meminfo} /proc/meminfo"
    driver = Driver(
        *("--space", "wae_weight", "--name", "a", "--num-trials", 3, "--epochs", 400, "--runs-dir", tmp_path),
        *("--scheduler", "none", "--max-failures", 3),
        environment={"RAY_memory_monitor_refresh_ms": "100"},
        prefix=["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"],
    )
    driver.wait_until(lambda: len(with_checkpoints(study, 1)) >= 2, "checkpoints")
    processes = [read_json(newest(study, number) / "process.json") or {} for number in with_checkpoints(study, 1)]
    pretend("4096".rjust(8))
    driver.wait_until(lambda: not all(Path(f"/proc/{found['pid']}").exists() for found in processes), "kill")
    pretend(str(int(total) // 2).rjust(8))
    status, output = driver.end()
    assert status == 0, output
    assert "Traceback" not in output
    assert list((study / "trials").glob("*/attempt-2"))
    expect_clean(audit(study, 400, trials=3), "Ray's out-of-memory kill", "/proc/meminfo says 4 MB are left")
