"""The driver is interrupted, stopped and killed while trials run, and what they left behind is damaged."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.audit import audit, ledger_trials, mlflow_runs
from study.cli import command_status
from study.disk.files import read_json
from study.sync import main as sync
from tests.faults.harness import Driver, as_root, ended, epochs_of, expect_clean, study_run, wait_until

EPOCHS = 240
SAVED = EPOCHS // 8
"""Epochs from one checkpoint to the next."""


def begin(
    runs: Path, trials: int, *more: object, epochs: int = EPOCHS, environment: dict[str, str] | None = None
) -> Driver:
    """Begins the study `runs/a`, or takes it up."""
    options = ["--space", "wae_weight", "--name", "a", "--runs-dir", runs, "--num-trials", trials, "--epochs", epochs]
    return Driver(*options, "--scheduler", "none", *more, environment=environment)


def statuses(study: Path) -> dict[int | None, str]:
    identity = str((read_json(study / "study.json") or {})["id"])
    return {run.number: run.status for run in mlflow_runs(study.parent / "mlflow.db", identity)}


def running(study: Path) -> list[int]:
    return [trial.number for trial in ledger_trials(study) if trial.state.name == "RUNNING"]


def newest(study: Path, number: int) -> Path:
    attempts = (study / "trials" / f"{number:04d}").glob("attempt-*")
    return max(attempts, key=lambda path: int(path.name[8:]))


def checkpoints(attempt: Path) -> list[Path]:
    return sorted(attempt.glob("*.pt"))


def with_checkpoints(study: Path, least: int = 2) -> list[int]:
    """Trials under way that have so many checkpoints."""
    return [
        int(path.name)
        for path in sorted((study / "trials").glob("*"))
        if not (path / "outcome.json").exists() and len(list(path.glob("attempt-*/*.pt"))) >= least
    ]


def test_a_driver_is_stopped_and_interrupted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study, trials, two = tmp_path / "a", 8, ("--max-concurrent", 2)

    # SIGTERM cuts the trials off.
    driver = begin(tmp_path, trials, *two)
    driver.wait_until(lambda: len(with_checkpoints(study)) == 2, "checkpoints")
    driver.process.send_signal(signal.SIGTERM)
    status, output = driver.end()
    assert status == 130 and "Traceback" not in output, output
    cut_off = running(study)
    assert len(cut_off) == 2
    assert (read_json(study / "study.json") or {})["outcome"] == "interrupted"
    assert statuses(study)[None] == "KILLED"
    expect_clean(audit(study, EPOCHS, cut_off=cut_off), "SIGTERM to the driver", "kill, two trials under way")

    # A second driver is refused; SIGINT once lets the trials end.
    driver = begin(tmp_path, trials, *two, "--resume")
    driver.wait_until(lambda: ended(study) >= 1, "end of a trial")
    assert study_run("--space", "wae_weight", "--name", "a", "--runs-dir", tmp_path, "--resume") == 2
    assert f"process {driver.process.pid} on {socket.gethostname()}" in capfd.readouterr().err
    driver.press_control_c()
    status, output = driver.end()
    assert status == 130 and "Traceback" not in output, output
    assert "stopping when the running trials have ended" in output
    assert running(study) == [] and ended(study) < trials
    found = audit(study, EPOCHS)
    expect_clean(found, "second driver, then SIGINT once", "refused; Ctrl-C to the process group")
    for number in cut_off:
        assert 0 < epochs_of(newest(study, number)) < EPOCHS  # from a checkpoint

    # SIGINT twice cuts them off.
    driver = begin(tmp_path, trials, *two, "--resume")
    driver.wait_until(lambda: len(with_checkpoints(study, 1)) == 2, "checkpoints")
    driver.press_control_c()
    time.sleep(0.5)  # signals that follow at once are one
    driver.press_control_c()
    status, output = driver.end()
    assert status == 130 and "Traceback" not in output, output
    cut_off = running(study)
    assert len(cut_off) == 2
    found = audit(study, EPOCHS, cut_off=cut_off)
    expect_clean(found, "SIGINT twice", "Ctrl-C Ctrl-C to the process group")

    status, output = begin(tmp_path, trials, *two, "--resume").end()
    assert status == 0, output
    expect_clean(audit(study, EPOCHS, trials=trials), "all of these, one after another", "in one study, resumed", 3)


RAYS_WORDS = re.compile(r"GCS|gcs_server|raylet|core_worker|ray::|Traceback|Exception", re.IGNORECASE)


@contextlib.contextmanager
def busy_machine() -> Iterator[None]:
    """Three processes for each core that do nothing but count."""
    count = 3 * (os.cpu_count() or 1)
    counting = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in counting:
            process.kill()
            process.wait()


def test_faults_met_sigterm_on_a_busy_machine_ends_by_our_own_path(tmp_path: Path) -> None:
    """`timeout` signals the process group. The last words are ours, and Ray has none."""
    study = tmp_path / "a"
    driver = begin(tmp_path, 8, "--max-concurrent", 2)
    driver.wait_until(lambda: len(with_checkpoints(study)) == 2, "checkpoints")
    with busy_machine():
        os.killpg(driver.process.pid, signal.SIGTERM)
        asked = time.monotonic()
        status, output = driver.end()
        seconds = time.monotonic() - asked
    lines = output.strip().splitlines()
    assert status == 130 and not RAYS_WORDS.search(output), output
    assert any("stopping now" in line for line in lines), output
    said = [number for number, line in enumerate(lines) if line.startswith(("study  ", "picture  ", "MLflow  "))]
    assert len(said) >= 3 and said[-1] >= len(lines) - 2, output  # and the end is whole
    assert (read_json(study / "study.json") or {})["outcome"] == "interrupted"
    assert seconds < 60, output  # Ray's own wait, after which it ends the driver
    if "study.sync" in output:  # MLflow is not waited for either
        assert command_status(sync, ["--study", "a", "--runs-dir", str(tmp_path)]) == 0
    found = audit(study, EPOCHS, cut_off=running(study))
    expect_clean(
        found, "SIGTERM to the driver's group", f"three busy processes for each core; {seconds:.0f} s to the end"
    )


def test_faults_met_sigterm_while_ray_starts_leaves_nothing(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="r") as short:  # Ray's sockets need short paths
        driver = begin(tmp_path, 2, environment={"RAY_TMPDIR": short})
        driver.wait_until(lambda: list(Path(short).glob("ray/session_*_*")), "session of Ray")
        driver.process.send_signal(signal.SIGTERM)
        status, output = driver.end()
        assert status == 130 and not RAYS_WORDS.search(output), output
        assert output.strip().splitlines()[-1].startswith("interrupted: "), output
        assert not list(Path(short).glob("ray/session_*_*"))
        assert not any(short in command for command in commands_running())
    assert not (tmp_path / "a").exists()


def commands_running() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return found


def test_a_driver_is_killed_and_a_process_it_left_writes_on(tmp_path: Path) -> None:
    """A trial's process outlives its driver, and writes on when its trial has moved on to another attempt."""
    study, trials = tmp_path / "a", 3
    # A process whose raylet is gone ends itself within a second; one that does not is what is looked for here.
    stubborn = {"RAY_raylet_death_check_interval_milliseconds": "3600000"}
    attempt = study / "trials" / "0000" / "attempt-1"
    driver = begin(tmp_path, trials, "--max-concurrent", 1, environment=stubborn)
    driver.wait_until(lambda: checkpoints(attempt) and _epochs_since_checkpoint(attempt) in range(1, 10), "epoch")
    stopped = [_process_of(attempt)]
    raylet = _parent(stopped[0])
    os.kill(raylet, signal.SIGKILL)  # it would end its workers when the driver has gone
    driver.process.kill()
    driver.process.wait()
    # A stopped process whose parent ends gets SIGHUP, so the parent must have gone before.
    wait_until(lambda: _parent(stopped[0]) != raylet, "the orphan's parent to go")
    os.kill(stopped[0], signal.SIGSTOP)
    try:
        assert _epochs_since_checkpoint(attempt) in range(1, SAVED - 1)
        written, saved = epochs_of(attempt), checkpoints(attempt)
        driver = begin(tmp_path, trials, "--max-concurrent", 1, "--resume")
        driver.wait_until(lambda: newest(study, 0) != attempt and epochs_of(newest(study, 0)), "second attempt")
        stopped.append(_process_of(newest(study, 0)))
        os.kill(stopped[1], signal.SIGSTOP)  # or the study ends before the orphan has written
        os.kill(stopped[0], signal.SIGCONT)
        driver.wait_until(lambda: epochs_of(attempt) > written and checkpoints(attempt) != saved, "writing orphan")
        os.kill(stopped[1], signal.SIGCONT)
        status, output = driver.end()
    finally:
        for process in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    assert status == 0, output
    how = "kill -9; a trial's process lived on, wrote epochs and a checkpoint"
    expect_clean(audit(study, EPOCHS, trials=trials), "driver killed, orphan writes on", how)


def _process_of(attempt: Path) -> int:
    return int((read_json(attempt / "process.json") or {})["pid"])


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _epochs_since_checkpoint(attempt: Path) -> int:
    return epochs_of(attempt) % SAVED


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _keep_epochs(attempt: Path, epochs: int) -> None:
    """Leaves so many lines of an attempt's metrics, and a torn one."""
    path = attempt / "metrics.jsonl"
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(content[:epochs]) + content[epochs][:40])


def _to_newest(damage: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda attempt: damage(checkpoints(attempt)[-1])


def _to_all(damage: Callable[[Path], None]) -> Callable[[Path], object]:
    return lambda attempt: [damage(path) for path in checkpoints(attempt)]


def _metrics_before(checkpoint: int) -> Callable[[Path], None]:
    return lambda attempt: _keep_epochs(attempt, _epoch(checkpoints(attempt)[checkpoint]) - 3)


ANEW = "from its first epoch"
DAMAGE: list[tuple[str, str, Callable[[Path], object], bool, list[str]]] = [
    ("checkpoint truncated", "the newest, to its half", _to_newest(_truncate), True, ["checksum"]),
    ("checkpoint bit-flipped", "one bit of the newest", _to_newest(_flip), True, ["checksum"]),
    ("checkpoint deleted", "the newest", _to_newest(Path.unlink), True, []),
    ("all checkpoints damaged", "one bit of each", _to_all(_flip), False, ["checksum", "checksum", ANEW]),
    ("all checkpoints deleted", "both", _to_all(Path.unlink), False, [ANEW]),
    ("metrics.jsonl truncated", "between two checkpoints", _metrics_before(-1), True, ["lacks epoch"]),
    ("metrics.jsonl truncated", "before both checkpoints", _metrics_before(0), False, ["lacks epoch", ANEW]),
]
"""Fault, how, what does it to an attempt, whether it goes on from the older checkpoint, and what is said about it."""


def _epoch(path: Path) -> int:
    return int(path.stem.removeprefix("checkpoint-"))


def test_damaged_files(tmp_path: Path) -> None:
    """Trials are cut off together, each one's files damaged in another way, and all taken up again."""
    study, trials, epochs = tmp_path / "a", len(DAMAGE), 2 * EPOCHS
    together = ("--max-concurrent", trials, "--cpus-per-trial", 0.15)
    driver = begin(tmp_path, trials, *together, epochs=epochs)
    driver.wait_until(lambda: len(with_checkpoints(study)) == trials, "checkpoints")
    driver.process.send_signal(signal.SIGTERM)
    status, output = driver.end()
    assert status == 130, output
    assert running(study) == list(range(trials))
    saved = []
    for number, (_, _, damage, _, _) in enumerate(DAMAGE):
        attempt = newest(study, number)
        saved.append([_epoch(path) for path in checkpoints(attempt)])
        damage(attempt)
    status, output = begin(tmp_path, trials, *together, "--resume", epochs=epochs).end()
    assert status == 0, output
    for number, (fault, how, _, sound, said) in enumerate(DAMAGE):
        attempt = newest(study, number)
        assert attempt.name == "attempt-2"
        assert epochs - epochs_of(attempt) == (saved[number][0] if sound else 0)
        warnings = attempt / "warnings.txt"
        told = warnings.read_text().splitlines() if warnings.exists() else []
        assert len(told) == len(said) and all(part in line for part, line in zip(said, told, strict=True)), told
        expect_clean(audit(study, epochs, trials=trials, only=[number]), fault, how)


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
        *("--scheduler", "none", "--max-failures", 3, "--max-concurrent", 2),
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
