"""How a store is addressed, and what of its address may be read by others."""

from __future__ import annotations

import base64
import http.server
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from study.config import UserError
from study.tracking import Mirror, default_tracking_uri, redact
from study.tracking.store import check_server, check_uri, redact_command, sqlite_path, sqlite_uri
from tests.helpers_study import make_study


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://host:5000/path", "http://host:5000/path"),
        ("http://user:pass@host:5000", "http://***@host:5000"),
        ("postgresql+psycopg2://user:p/a@ss@host/db", "postgresql+psycopg2://***@host/db"),
        ("postgresql://u:2024/hunter2@db/x", "postgresql://***@db/x"),
        ("https://token@host/x", "https://***@host/x"),
        ("sqlite:////home/me@work/runs/mlflow.db", "sqlite:////home/me@work/runs/mlflow.db"),
        ("postgresql://host/db?user=u&password=p", "postgresql://host/db?user=u&password=***"),
        ("cannot reach http://u:p@h/ or http://h:80/a", "cannot reach http://***@h/ or http://h:80/a"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    assert redact(text) == expected


SCHEMES = st.sampled_from(["postgresql", "http", "mysql+x"])


@given(st.text(min_size=1).map("hunter".__add__), SCHEMES, st.booleans())
def test_security_no_password_survives_on_a_command_line(password: str, scheme: str, joined: bool) -> None:
    url = f"{scheme}://user:{password}@host:5432/db"
    arguments = ["python", "-m", "x", *([f"--storage={url}"] if joined else ["--storage", url]), "--name", "a b"]
    shown = redact_command(arguments)
    assert "hunter" not in shown
    expected = [argument.replace(f"user:{password}@", "***@") for argument in arguments]
    assert shlex.split(shown) == expected


@given(st.text(min_size=1).map("hunter".__add__), SCHEMES, st.sampled_from(["MLFLOW_TRACKING_URI", "argument"]))
def test_security_no_known_password_survives_in_a_text(password: str, scheme: str, where: str) -> None:
    url = f"{scheme}://user:{password}@host:5432/db"
    with pytest.MonkeyPatch.context() as patch:
        if where == "argument" or "\x00" in password or "\ud800" <= max(password) <= "\udfff":
            patch.setattr("sys.argv", ["x", "--tracking-uri", url])
        else:
            patch.setenv(where, url)
        assert "hunter" not in redact(f"could not open {url} (timeout), told {password!s}")


@given(st.text("abcXYZ0123:@!$/#?&=%", min_size=1).map("hunter".__add__), SCHEMES)
def test_security_no_password_survives_in_a_text(password: str, scheme: str) -> None:
    assert "hunter" not in redact(f"could not open {scheme}://user:{password}@host:5432/db (timeout)")


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "RAY_AUTH_TOKEN", "PGPASSWORD"])
def test_security_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "it's 1 secret")
    assert redact("Authorization: it's 1 secret!") == "Authorization: ***!"


def test_security_secret_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    monkeypatch.setenv("STUDY_STORAGE_PASSWORD_FILE", str(tmp_path / "password"))
    assert redact("FATAL: hunter2 is wrong") == "FATAL: *** is wrong"


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str | None]]]:
    """A server that knows itself by no name: its address, and the Authorization of each request."""
    headers: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers.append(self.headers.get("Authorization"))
            self.send_response(403)
            self.end_headers()
            self.wfile.write(b"Invalid Host header")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", headers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("user", "sent"), [("", None), ("me:p%2Fw@", "me:p/w"), ("token@", "token:")])
def test_a_server_that_does_not_know_its_name_is_told(
    asked: tuple[str, list[str | None]], user: str, sent: str | None
) -> None:
    address, headers = asked
    with pytest.raises(UserError, match="MLFLOW_SERVER_ALLOWED_HOSTS") as caught:
        check_server(f"http://{user}{address}/")
    assert headers == [None if sent is None else f"Basic {base64.b64encode(sent.encode()).decode()}"]
    assert "p%2Fw" not in str(caught.value)


@pytest.mark.parametrize("name", ["runs", "with space", "50%25 off?", "ümlaut#1", "a+b@c"])
def test_sqlite_addresses(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "mlflow.db"
    uri = sqlite_uri(path)
    assert sqlite_path(uri) == path
    assert sqlalchemy.make_url(uri).database == str(path)
    check_uri(uri)


@pytest.mark.parametrize("uri", ["mlruns", "/tmp/mlruns", "file:///tmp/x", "sqlite://", "ftp://host", ""])
def test_unknown_addresses(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UserError, match="tracking URI"):
        Mirror(make_study(tmp_path, trials=1, epochs=1), uri)


def test_default_tracking_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert default_tracking_uri(tmp_path) == "http://server"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(tmp_path)
    assert default_tracking_uri(Path("runs")) == f"sqlite:///{tmp_path}/runs/mlflow.db"
