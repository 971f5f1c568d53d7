"""Addresses an MLflow store: which one, how to name it without its secrets, how to open it and search it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import logging
import os
import re
import shlex
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from filelock import FileLock

from study.config import UserError
from study.tracking.local_store import make_store, why_broken

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LOCAL_SERVER = "http://127.0.0.1:5000"
"""Where `make ui` and `mlflow ui` serve a database."""
_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
_INITIALISATION_S = 60
_LOOK_AGAIN_S = 2.0
_CHECK_S = 5
_ENVIRONMENT = {
    # The writer repeats a failed pass anyway, after a look at what is there. MLflow itself would repeat a request whose
    # answer was lost, and so create a run twice. It would also spend four minutes on a dead server.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Settings that the user's own environment overrides."""

_FIELD = r"(?i)((?:password|passwd|pwd|token|secret|api_?key|access_?key)\s*[=:]\s*)"
_USER_INFO = re.compile(r"(://)[^:/@\s]*(?::[^\s'\"]*)?@")
_SECRET_FIELD = re.compile(_FIELD + r"[^&\s'\",;]+")
# The same for a text that is a single URL: its password may hold any character.
_WHOLE_USER_INFO = re.compile(r"(://)[^:/@]*(?::(.*))?@", re.DOTALL)
_WHOLE_SECRET_FIELD = re.compile(_FIELD + "[^&]+")
_SECRET_VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "DATABRICKS_TOKEN",
    "RAY_AUTH_TOKEN",
    "PGPASSWORD",
)
_URL_VARIABLES = ("MLFLOW_TRACKING_URI", "STUDY_STORAGE")
_SECRET_FILES = ("STUDY_STORAGE_PASSWORD_FILE",)
_LEAST_SECRET = 6
"""Shorter secrets are not searched for by themselves: ordinary words contain them too."""


def default_tracking_uri(runs_dir: Path) -> str:
    """`MLFLOW_TRACKING_URI` if it is set, else the SQLite store in the folder of all studies."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(Path(runs_dir).absolute() / "mlflow.db")


def sqlite_uri(path: Path) -> str:
    """The URI of a SQLite file given by its absolute path."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F")


def sqlite_path(tracking_uri: str) -> Path | None:
    """The file of a SQLite store, absolute; None for any other store."""
    match = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", tracking_uri)
    return Path(unquote(match[1])).absolute() if match else None


def server_page(tracking_uri: str) -> str | None:
    """The address of a server's UI, without secrets; None for a store that is no server.

    If the server of MLFLOW_TRACKING_URI has another address for people than for programs, STUDY_MLFLOW_PAGE is that.
    """
    if not tracking_uri.startswith(("http:", "https:")):
        return None
    if tracking_uri == os.environ.get("MLFLOW_TRACKING_URI"):
        tracking_uri = os.environ.get("STUDY_MLFLOW_PAGE") or tracking_uri
    return redact(tracking_uri).replace("***@", "").rstrip("/")


def redact(text: str) -> str:
    """A URI, or any text with URIs in it, without user names, passwords and tokens."""
    for secret in sorted(_known_secrets(), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _SECRET_FIELD.sub(r"\1***", _USER_INFO.sub(r"\1***@", text))


def redact_command(arguments: Sequence[str]) -> str:
    """A command line as one would type it, without user names, passwords and tokens."""
    # Each argument before quoting: a quoted password would no longer match.
    hidden = [_WHOLE_SECRET_FIELD.sub(r"\1***", _WHOLE_USER_INFO.sub(r"\1***@", argument)) for argument in arguments]
    return redact(shlex.join(hidden))


def _known_secrets() -> set[str]:
    """The secrets in the environment and on this process's command line."""
    secrets = {os.environ.get(name, "") for name in _SECRET_VARIABLES}
    for url in (*(os.environ.get(name, "") for name in _URL_VARIABLES), *sys.argv):
        if (match := _WHOLE_USER_INFO.search(url)) and match[2]:
            secrets |= {match[2], unquote(match[2])}
    for name in _SECRET_FILES:
        with contextlib.suppress(OSError, ValueError):
            secrets.add(Path(os.environ.get(name, "")).read_text().strip())
    return {secret for secret in secrets if len(secret) >= _LEAST_SECRET}


def one_line(error: BaseException) -> str:
    """An error's first cause as one short line without secrets."""
    # MLflow, requests and SQLAlchemy each wrap the cause in a paragraph of their own.
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    message = " ".join(redact(str(error)).split())
    message = message if len(message) <= 300 else message[:299] + "…"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def check_uri(tracking_uri: str) -> None:
    """Checks that a tracking URI names a kind of store that can be written to.

    Raises:
        UserError: It does not.
    """
    scheme = tracking_uri.partition(":")[0].partition("+")[0]
    if scheme not in _SCHEMES or (scheme == "sqlite" and sqlite_path(tracking_uri) is None):
        raise UserError(
            f"tracking URI {redact(tracking_uri)!r} is of no known kind: give sqlite:///FILE, a database URL "
            "(postgresql://…) or the address of an MLflow server (http://…)"
        )


def check_server(tracking_uri: str) -> None:
    """Checks that an MLflow server accepts the host name in its address.

    A server that does not answer passes: trials never wait for it.

    Raises:
        UserError: It answers 403, as it would to every request of the study.
    """
    if not tracking_uri.startswith(("http:", "https:")):
        return
    scheme, _, address = tracking_uri.partition("://")
    user, at, host = address.rpartition("@")
    page = f"{scheme}://{host.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    # urllib would read the user as part of the host name.
    login = base64.b64encode(unquote(user if ":" in user else f"{user}:").encode()).decode()
    try:
        request = urllib.request.Request(page, headers={"Authorization": f"Basic {login}"} if at else {})
        urllib.request.urlopen(request, timeout=_CHECK_S).close()
    except urllib.error.HTTPError as error:
        if error.code == 403 and b"host" in error.read(1000).lower():
            raise UserError(
                f"MLflow at {redact(tracking_uri)} refuses this host name (403): add HOST:PORT to "
                "MLFLOW_SERVER_ALLOWED_HOSTS and restart the server"
            ) from None
    except (OSError, ValueError, http.client.HTTPException):
        return


def artifact_root(tracking_uri: str, runs_dir: Path) -> str | None:
    """Where a new experiment keeps its files: beside the database; None if the server decides."""
    if tracking_uri.startswith(("http:", "https:", "databricks")):
        return None
    database = sqlite_path(tracking_uri)
    return ((database.parent if database else runs_dir.absolute()) / "mlartifacts").as_uri()


def sync_command(runs: Path, tracking_uri: str, study: str | None = None) -> str:
    """The command that writes a study into a store, or all studies of a folder; quoted for a shell, without secrets.

    Args:
        runs: The folder of all studies.
        tracking_uri: The store.
        study: The study's name; None for all of them.
    """
    options = ["--all"] if study is None else ["--study", study]
    options += ["--runs-dir", str(runs)]
    if tracking_uri != default_tracking_uri(runs):
        options += ["--tracking-uri", redact(tracking_uri)]
    command = shlex.join(["python", "-m", "study.sync", *options])
    return command if redact(tracking_uri) == tracking_uri else f"{command} (with the secret in place of ***)"


def connect(tracking_uri: str, replaced: Callable[[str], None] | None = None) -> MlflowClient:
    """Opens a store, and creates it if it is a new SQLite file.

    Importing MLflow takes a second or two, so it is imported here. Its log messages are silenced.

    Args:
        tracking_uri: The store.
        replaced: Takes a line for the user when a SQLite file that is broken has been replaced by a new one. Give it
            only for a store that the studies' folders can fill again. Without it, such a file is an error.

    Raises:
        UserError: The store is a SQLite file that is broken.
        Exception: What MLflow, SQLAlchemy or the file system raise if the store cannot be reached.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)
    database = sqlite_path(tracking_uri)
    if database is None:
        return MlflowClient(tracking_uri)
    database.parent.mkdir(parents=True, exist_ok=True)

    def opened(uri: str = tracking_uri) -> MlflowClient:
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        return client

    # Two processes that create the tables of a new file at the same time leave it broken.
    with FileLock(f"{database}.lock", timeout=_INITIALISATION_S):
        if not database.exists():
            make_store(database, lambda path: opened(sqlite_uri(path)), replace=False)
        try:
            return opened()
        except Exception:
            if why_broken(database) is None:
                raise
        time.sleep(_LOOK_AGAIN_S)  # a server may be making its tables now
        try:
            return opened()
        except Exception as error:
            why = why_broken(database)
            if why is None:
                raise
            if replaced is None:
                raise UserError(f"the MLflow store {database} {why}: {_remedy(database, tracking_uri)}") from error
        aside = make_store(database, lambda path: opened(sqlite_uri(path)), replace=True)
        _forget(tracking_uri)
        replaced(f"the MLflow store {database} {why}, so a new one takes its place; the old file is {aside}")
        return opened()


def _remedy(database: Path, tracking_uri: str) -> str:
    runs = database.parent
    if tracking_uri == default_tracking_uri(runs):
        return f"write it again from the studies' folders: {sync_command(runs, tracking_uri)}"
    return "restore it from a backup, or move it away and write each study into a new one with python -m study.sync"


def _forget(tracking_uri: str) -> None:
    """Lets MLflow open the file anew: it keeps an engine for each address, with the old file open."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engine = SqlAlchemyStore._engine_map.get(tracking_uri)
    if engine is not None:
        engine.dispose()


def search_runs(client: MlflowClient, experiments: list[str], condition: str) -> Iterator[Run]:
    """All runs that meet a condition, page by page."""
    token: str | None = None
    while True:
        page = client.search_runs(experiments, condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
