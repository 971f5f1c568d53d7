"""An MLflow server that is away, comes back, or answers nothing but errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.audit import audit
from benchmarks.servers import Gate, Server, mlflow_server
from study.cli import command_status
from study.sync import main as sync
from tests.faults.harness import ROOT, ended, expect_clean, meanwhile, study_run, wait_until

EPOCHS, TRIALS = 16, 5
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
    gate.shut()


def run(runs: Path, name: str, gate: Gate) -> int:
    """A small study that writes through the gate, as a user with a password."""
    uri = f"http://user:{SECRETS[0]}@127.0.0.1:{gate.port}"
    arguments = ["--space", "wae_weight", "--name", name, "--num-trials", TRIALS, "--epochs", EPOCHS]
    return study_run(*arguments, "--scheduler", "none", "--runs-dir", runs, "--tracking-uri", uri)


def synchronise(runs: Path, name: str, port: int) -> None:
    uri = f"http://127.0.0.1:{port}"
    assert command_status(sync, ["--study", name, "--runs-dir", str(runs), "--tracking-uri", uri]) == 0


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.session.MIRROR_SECONDS", 30)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRETS[1])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


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


def test_away_in_the_middle_failing_and_back(
    tmp_path: Path, ray_session: None, server: Server, gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "back"
    seen: list[int] = []
    with meanwhile(
        lambda: wait_until(lambda: (study / "study.json").exists(), "study"),
        gate.open,
        lambda: wait_until(lambda: ended(study) >= 1 and gate.connections, "end of a trial"),
        gate.shut,
        lambda: wait_until(lambda: ended(study) >= 2, "end of a second trial"),
        lambda: gate.open(failing=True),
        lambda: seen.append(gate.connections),
        lambda: wait_until(lambda: ended(study) >= 3, "end of a third trial"),
        gate.open,
    ):
        assert run(tmp_path, "back", gate) == 0
    assert "study.sync" not in capfd.readouterr().out
    found = audit(study, EPOCHS, trials=TRIALS, mlflow=server.database)
    expect_clean(found, "MLflow down at the start, then back", "connections refused")
    expect_clean(found, "MLflow down in the middle, then back", "connections refused")
    expect_clean(found, "MLflow answers 500, then well", "each request answered by 500")


def test_away_to_the_end(tmp_path: Path, ray_session: None, server: Server, gate: Gate) -> None:
    gate.open()
    with meanwhile(lambda: wait_until(lambda: ended(tmp_path / "gone") >= 2, "end of two trials"), gate.shut):
        assert run(tmp_path, "gone", gate) == 0
    synchronise(tmp_path, "gone", server.port)
    found = audit(tmp_path / "gone", EPOCHS, trials=TRIALS, mlflow=server.database)
    expect_clean(found, "MLflow down in the middle to the end", "connections refused; study.sync")


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
