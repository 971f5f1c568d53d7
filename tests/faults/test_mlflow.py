"""An MLflow server that is down, comes back, or answers only with errors."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from benchmarks.audit import audit
from benchmarks.servers import Gate, Server, mlflow_server
from study.tracking import Mirror
from tests.faults.harness import PATIENCE, ROOT, ended, expect_clean, meanwhile, study_run, wait_until

EPOCHS, TRIALS = 16, 5
LONG = 600
"""Epochs of a study during which the server's state changes."""
SECRETS = ("hunter2", "t0ps3cret")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real MLflow server."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def gate(server: Server) -> Iterator[Gate]:
    gate = Gate(server.port)
    yield gate
    gate.close()


def turn(gate: Gate, state: str) -> Callable[[], None]:
    """A step that puts the gate into a state and waits until the study has connected to it."""

    def step() -> None:
        met = gate.met[state]
        gate.turn(state)
        wait_until(lambda: gate.met[state] > met, f"connection to the {state} gate")

    return step


def run(runs: Path, name: str, gate: Gate, epochs: int = EPOCHS) -> int:
    """Runs a small study that writes through the gate, as a user with a password."""
    uri = f"http://user:{SECRETS[0]}@127.0.0.1:{gate.port}"
    arguments = ["--space", "wae_weight", "--name", name, "--num-trials", TRIALS, "--epochs", epochs]
    return study_run(*arguments, "--scheduler", "none", "--runs-dir", runs, "--tracking-uri", uri)


def synchronise(runs: Path, name: str, port: int) -> None:
    """Runs `python -m study.sync` past the gate, as a process: within one, MLflow caches where a run's files go."""
    where = ["--runs-dir", str(runs), "--tracking-uri", f"http://127.0.0.1:{port}"]
    command = [sys.executable, "-m", "study.sync", "--study", name, *where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.session.session.MIRROR_SECONDS", 30)
    monkeypatch.setattr("study.tracking.mirror._LONGEST_PAUSE_S", 2.0)  # Otherwise the study ends before the next try.
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRETS[1])


def test_away_from_start_to_end(
    tmp_path: Path, ray_session: None, server: Server, gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "away", gate) == 0
    captured = capfd.readouterr()
    assert captured.err.count("cannot be written") == 1 and "study.sync --study away" in captured.out
    assert not any(secret in captured.out + captured.err for secret in SECRETS)
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert not any(secret.encode() in path.read_bytes() for secret in SECRETS), path
    synchronise(tmp_path, "away", server.port)
    found = audit(tmp_path / "away", EPOCHS, trials=TRIALS, mlflow=server.database)
    expect_clean(found, "MLflow down from start to end", "connections refused; study.sync")
    before = server.database.read_bytes()
    synchronise(tmp_path, "away", server.port)
    assert len(server.database.read_bytes()) == len(before)
    assert not any(secret.encode() in before for secret in SECRETS)


def mirrored(server: Server, name: str) -> int:
    """Epochs of a study's trials that the server holds."""
    with contextlib.closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as store:
        query = (
            "SELECT COUNT(*) FROM metrics m JOIN tags t ON t.run_uuid = m.run_uuid "
            "WHERE t.key = 'study.name' AND t.value = ? AND m.key = 'train/loss'"
        )
        return store.execute(query, (name,)).fetchone()[0]


@pytest.mark.parametrize(
    ("name", "states", "fault", "injected"),
    [
        ("back", ["shut", "open"], "MLflow down at the start, then back", "connections reset"),
        (
            "gap",
            ["open", "shut", "open"],
            "MLflow down in the middle, then back",
            "connections reset until it was tried",
        ),
        ("failing", ["open", "failing", "open"], "MLflow answers 500, then well", "each request answered by 500"),
        ("deaf", ["deaf", "open", "deaf", "open"], "MLflow does it and does not say so", "each answer held back"),
    ],
)
def test_away_for_a_while_and_back(
    tmp_path: Path,
    ray_session: None,
    server: Server,
    gate: Gate,
    capfd: pytest.CaptureFixture[str],
    name: str,
    states: list[str],
    fault: str,
    injected: str,
) -> None:
    steps = [turn(gate, state) for state in states]
    with meanwhile(
        steps[0],
        lambda: wait_until(lambda: ended(tmp_path / name) >= 1, "end of a trial"),
        *steps[1:],
        lambda: wait_until(lambda: mirrored(server, name), "epoch in MLflow"),
    ):
        assert run(tmp_path, name, gate, epochs=LONG) == 0
    captured = capfd.readouterr()
    assert captured.err.count("cannot be written") >= 1 and "is up to date again" in captured.err
    assert "study.sync" not in captured.out
    found = audit(tmp_path / name, LONG, trials=TRIALS, mlflow=server.database)
    expect_clean(found, fault, injected, times=len(states) // 2)


def test_away_to_the_end(tmp_path: Path, ray_session: None, server: Server, gate: Gate) -> None:
    with meanwhile(
        turn(gate, "open"),
        lambda: wait_until(lambda: ended(tmp_path / "gone") >= 1 and mirrored(server, "gone"), "end of a trial"),
        turn(gate, "shut"),
    ):
        assert run(tmp_path, "gone", gate, epochs=LONG) == 0
    synchronise(tmp_path, "gone", server.port)
    found = audit(tmp_path / "gone", LONG, trials=TRIALS, mlflow=server.database)
    expect_clean(found, "MLflow down in the middle to the end", "connections reset; study.sync")


def test_control_c_while_the_end_waits_for_mlflow(
    tmp_path: Path,
    ray_session: None,
    server: Server,
    gate: Gate,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    close = Mirror.close

    def wait(mirror: Mirror, *arguments: Any) -> bool:
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
        return close(mirror, *arguments)

    gate.turn("shut")
    monkeypatch.setattr("study.session.session.MIRROR_SECONDS", 300)
    monkeypatch.setattr(Mirror, "close", wait)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")  # Otherwise there is nothing to wait for.
    assert run(tmp_path, "waited", gate) == 0
    assert "study.sync --study waited" in capfd.readouterr().out
    with FileLock(tmp_path / "waited" / "mlflow.lock", timeout=PATIENCE):
        pass  # In a command, the thread would have died with the process.
    synchronise(tmp_path, "waited", server.port)
    found = audit(tmp_path / "waited", EPOCHS, trials=TRIALS, mlflow=server.database)
    expect_clean(found, "Ctrl-C while the end waits for MLflow", "connections reset, SIGINT; study.sync")


def test_two_studies_on_one_fresh_store(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "study.run", "--space", "wae_weight", "--num-trials", "2", "--epochs", "4"]
    drivers = [
        subprocess.Popen(
            [*command, "--max-concurrent", "1", "--runs-dir", str(tmp_path), "--name", name],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("one", "two")
    ]
    for driver in drivers:
        output, _ = driver.communicate(timeout=300)
        assert driver.returncode == 0, output
    for name in ("one", "two"):
        found = audit(tmp_path / name, 4, trials=2)
        expect_clean(found, "two studies on one fresh store", f"started together (study {name})")
