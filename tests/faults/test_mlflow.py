"""An MLflow server that is away, comes back, or answers nothing but errors."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.cli import command_status
from study.sync import main as sync
from tests.faults.harness import ROOT, audit, ended, meanwhile, study_run, wait_until

EPOCHS, TRIALS = 16, 5
SECRETS = ("hunter2", "t0ps3cret")


class Gate:
    """A door before a server: open, shut (connections are refused) or failing (each request is answered by 500)."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener: socket.socket | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._failing = False
        self.requests = 0

    def open(self, failing: bool = False) -> None:
        """Lets connections through, or answers each with an error."""
        self._failing = failing
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Refuses connections, as a machine does on which the server died."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.requests += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            if self._failing:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            try:
                with socket.create_connection(("127.0.0.1", self._target)) as server:
                    back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                    back.start()
                    _pump(client, server)
                    back.join()
            except OSError:
                return


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while content := source.recv(65536):
            sink.sendall(content)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A real MLflow server: its port and its database."""
    home = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "files")]
    with open(home / "log", "w") as log:
        process = subprocess.Popen([sys.executable, *command, *stores], cwd=home, stdout=log, stderr=log)
    wait_until(lambda: _healthy(port), "MLflow server", lambda: process.poll() is None)
    yield port, home / "mlflow.db"
    process.terminate()
    process.wait(30)


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture
def gate(server: tuple[int, Path]) -> Iterator[Gate]:
    gate = Gate(server[0])
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
    tmp_path: Path, ray_session: None, server: tuple[int, Path], gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "away", gate) == 0
    captured = capfd.readouterr()
    assert captured.err.count("cannot be written") == 1 and "study.sync --study away" in captured.out
    assert not any(secret in captured.out + captured.err for secret in SECRETS)
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert not any(secret.encode() in path.read_bytes() for secret in SECRETS), path
    synchronise(tmp_path, "away", server[0])
    found = audit(tmp_path / "away", EPOCHS, trials=TRIALS, mlflow=server[1])
    found.expect_clean("MLflow down from start to end", "connections refused; study.sync")
    before = server[1].read_bytes()
    synchronise(tmp_path, "away", server[0])
    assert len(server[1].read_bytes()) == len(before)
    assert not any(secret.encode() in before for secret in SECRETS)


def test_away_in_the_middle_failing_and_back(
    tmp_path: Path, ray_session: None, server: tuple[int, Path], gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "back"
    seen: list[int] = []
    with meanwhile(
        lambda: wait_until(lambda: (study / "study.json").exists(), "study"),
        gate.open,
        lambda: wait_until(lambda: ended(study) >= 1 and gate.requests, "end of a trial"),
        gate.shut,
        lambda: wait_until(lambda: ended(study) >= 2, "end of a second trial"),
        lambda: gate.open(failing=True),
        lambda: seen.append(gate.requests),
        lambda: wait_until(lambda: ended(study) >= 3, "end of a third trial"),
        gate.open,
    ):
        assert run(tmp_path, "back", gate) == 0
    assert "study.sync" not in capfd.readouterr().out
    found = audit(study, EPOCHS, trials=TRIALS, mlflow=server[1])
    found.expect_clean("MLflow down at the start, then back", "connections refused")
    found.expect_clean("MLflow down in the middle, then back", "connections refused")
    found.expect_clean("MLflow answers 500, then well", "each request answered by 500")


def test_away_to_the_end(tmp_path: Path, ray_session: None, server: tuple[int, Path], gate: Gate) -> None:
    gate.open()
    with meanwhile(lambda: wait_until(lambda: ended(tmp_path / "gone") >= 2, "end of two trials"), gate.shut):
        assert run(tmp_path, "gone", gate) == 0
    synchronise(tmp_path, "gone", server[0])
    found = audit(tmp_path / "gone", EPOCHS, trials=TRIALS, mlflow=server[1])
    found.expect_clean("MLflow down in the middle to the end", "connections refused; study.sync")


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
        found.expect_clean("two studies on one fresh store", f"started together (study {name})")
