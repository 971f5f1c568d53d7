"""Which MLflow store, how to name it without its secrets, and how to open it."""

from __future__ import annotations

import http.client
import logging
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from filelock import FileLock

from study.config import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
_INITIALISATION_S = 60
_CHECK_S = 5
_ENVIRONMENT = {
    # A dead server costs seconds, not MLflow's four minutes, and each pass is tried again anyway.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Settings that the user's own environment overrides."""

_USER_INFO = re.compile(r"(://)[^:/@\s]*(?::(?!\d+/)[^\s'\"]*)?@")
_SECRET_FIELD = re.compile(r"(?i)((?:password|passwd|pwd|token|secret|api_?key|access_?key)\s*[=:]\s*)[^&\s'\",;]+")
_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN")


def default_tracking_uri(runs_dir: Path) -> str:
    """`MLFLOW_TRACKING_URI` where it is set, else the SQLite store in the runs directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(Path(runs_dir).absolute() / "mlflow.db")


def sqlite_uri(path: Path) -> str:
    """The URI of a SQLite file given by its absolute path."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F")


def sqlite_path(tracking_uri: str) -> Path | None:
    """The file of a SQLite store, absolute; None for any other store."""
    match = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", tracking_uri)
    return Path(unquote(match[1])).absolute() if match else None


def redact(text: str) -> str:
    """A URI, or any text with URIs in it, without user names, passwords and tokens."""
    for name in _SECRET_VARIABLES:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return _SECRET_FIELD.sub(r"\1***", _USER_INFO.sub(r"\1***@", text))


def one_line(error: BaseException) -> str:
    """An error's first cause as one short line without secrets."""
    # MLflow, requests and SQLAlchemy each wrap what went wrong in a paragraph of their own.
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    message = " ".join(redact(str(error)).split())
    message = message if len(message) <= 300 else message[:299] + "…"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def check_uri(tracking_uri: str) -> None:
    """Checks that a tracking URI is of a kind that can be written to.

    Raises:
        UserError: It is not.
    """
    scheme = tracking_uri.partition(":")[0].partition("+")[0]
    if scheme not in _SCHEMES or (scheme == "sqlite" and sqlite_path(tracking_uri) is None):
        raise UserError(
            f"tracking URI {redact(tracking_uri)!r}: give sqlite:///FILE, a database URL (postgresql://…) "
            "or the address of an MLflow server (http://…)"
        )


def check_server(tracking_uri: str) -> None:
    """Checks that an MLflow server does not refuse the name it is called by.

    One that does not answer is no fault: trials never wait for it.

    Raises:
        UserError: It answers 403, as it would to every request of the study.
    """
    if not tracking_uri.startswith(("http:", "https:")):
        return
    page = f"{tracking_uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    try:
        urllib.request.urlopen(page, timeout=_CHECK_S).close()
    except urllib.error.HTTPError as error:
        if error.code == 403 and b"host" in error.read(1000).lower():
            raise UserError(
                f"MLflow at {redact(tracking_uri)} answers 403, it does not know itself by this name: add HOST:PORT to "
                "MLFLOW_SERVER_ALLOWED_HOSTS where the server is started"
            ) from None
    except (OSError, ValueError, http.client.HTTPException):
        return


def artifact_root(tracking_uri: str, runs_dir: Path) -> str | None:
    """Where a new experiment keeps its files: beside the database, or None where the server decides."""
    if tracking_uri.startswith(("http:", "https:", "databricks")):
        return None
    database = sqlite_path(tracking_uri)
    return ((database.parent if database else runs_dir.absolute()) / "mlartifacts").as_uri()


def connect(tracking_uri: str) -> MlflowClient:
    """A client whose store exists; MLflow is imported here, which takes a second or two, and its chatter silenced.

    Raises:
        Exception: Whatever MLflow, SQLAlchemy or the file system raise when the store cannot be reached.
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
    # Two processes that create the tables of one fresh file at a time leave it broken.
    with FileLock(f"{database}.lock", timeout=_INITIALISATION_S):
        client = MlflowClient(tracking_uri)
        client.search_experiments(max_results=1)
    return client
