"""An MLflow server to break, and a gate to stand before it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_START_SECONDS = 300


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Server:
    """A real MLflow server on SQLite, as a process.

    Args:
        home: Its folder.
    """

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.database = home / "mlflow.db"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """What to give as `--tracking-uri`."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, wait: bool = True) -> None:
        """Starts it.

        Raises:
            TimeoutError: It does not answer.
        """
        command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        stores = [
            "--backend-store-uri",
            f"sqlite:///{self.database}",
            "--artifacts-destination",
            str(self._home / "files"),
        ]
        with open(self._home / "server.log", "a") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command, *stores], cwd=self._home, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        while wait and not self.healthy():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the MLflow server does not answer: {self._home / 'server.log'}")
            time.sleep(0.1)

    def healthy(self) -> bool:
        """Whether it answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """Kills it with all its workers, as kill -9 does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                subprocess.run(["kill", "-9", "--", f"-{self._process.pid}"], check=False, stderr=subprocess.DEVNULL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def mlflow_server(home: Path) -> Iterator[Server]:
    """A server that runs for as long as the block lasts."""
    server = Server(home)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Gate:
    """A door before a server, in one of four states; before its first state nobody listens and connections are refused.

    `open` lets everything through. `shut` resets each connection, as a machine does on which the server died. `failing`
    answers each request by 500. `deaf` lets requests through, and hangs up in place of the answer: what was asked for
    is done, and who asked does not know.

    Args:
        target: The server's port.

    Attributes:
        port: Where the door is.
        met: Connections that came in each state; those of an earlier state are cut.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.met: Counter[str] = Counter()
        self._target = target
        self._listener: socket.socket | None = None
        self._state = ""

    def turn(self, state: str) -> None:
        """Changes the state: `open`, `shut`, `failing` or `deaf`."""
        self._state = state
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Nobody listens any more."""
        self._state = ""
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
            state = self._state
            self.met[state] += 1
            threading.Thread(target=self._serve, args=(client, state), daemon=True).start()

    def _serve(self, client: socket.socket, state: str) -> None:
        with client, contextlib.suppress(OSError):
            if state == "shut":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() is a reset
            elif state == "failing":
                self._fail(client)
            else:
                with socket.create_connection(("127.0.0.1", self._target)) as server:
                    requests = threading.Thread(target=self._pump, args=(client, server, state), daemon=True)
                    requests.start()
                    self._pump(server, client, state)
                    requests.join()

    def _fail(self, client: socket.socket) -> None:
        client.settimeout(5)
        client.recv(65536)
        client.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):  # a rest that nobody read would reset the connection before the answer is
            pass

    def _pump(self, source: socket.socket, sink: socket.socket, state: str) -> None:
        """Passes bytes on for as long as the door stays as it was; connections kept alive break when it changes."""
        is_answer = sink.getsockname()[1] == self.port
        source.settimeout(0.2)
        while self._state == state:
            try:
                content = source.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if not content or (state == "deaf" and is_answer):
                break
            try:
                sink.sendall(content)
            except OSError:
                break
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
