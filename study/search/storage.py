"""Ledgers on a database server instead of in the study's own file. Passwords never reach a record or a log."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.engine
import sqlalchemy.event
import sqlalchemy.exc
import tenacity

from study.config import UserError
from study.disk.layout import ledger_path
from study.disk.study_json import StudyRecord

PASSWORD_FILE = "STUDY_STORAGE_PASSWORD_FILE"
PATIENCE_SECONDS = 300.0
"""How long a study waits for a database that no longer answers: time to restart the server or its machine."""
_EXAMPLE = "give postgresql+psycopg2://USER@HOST:5432/DATABASE"
_ANSWER_SECONDS = 10
"""For a new connection, and for the receipt of what is sent: a machine that has vanished refuses nothing, and without a
bound the driver would wait for it for a quarter of an hour, without a word."""
_LONGEST_PAUSE = 5
_QUICK: dict[str, dict[str, object]] = {
    "sqlite": {"timeout": 1.0},  # seconds for another's lock
    # Seconds and milliseconds; libpq takes 2 s for the least. A server that is cut off answers nothing at all.
    "postgresql": {"connect_timeout": 2, "tcp_user_timeout": 2000, "options": "-c statement_timeout=2000"},
}


def public_url(url: str) -> str:
    """A storage URL without its password, for the study's record.

    Raises:
        UserError: It is not the URL of a database.
    """
    return _parse(url)._replace(password=None).render_as_string(hide_password=False)


def open_storage(url: str, given: str | None = None) -> optuna.storages.RDBStorage:
    """Opens a database for ledgers and creates its tables if there are none.

    The password comes from the URL, else from the file that STUDY_STORAGE_PASSWORD_FILE names, else from what the
    database's client finds itself (PGPASSWORD, PGPASSFILE). The file's password goes only to the server that the user
    named: a study's record, which may come from anybody, cannot send it elsewhere.

    Args:
        url: As SQLAlchemy takes it, for example from a study's record.
        given: What the user gave as `--storage`; by default STUDY_STORAGE.

    Raises:
        UserError: The database cannot be used; the message holds no password.
    """
    parsed = _parse(url)
    given = given or os.environ.get("STUDY_STORAGE")
    named = given is not None and _server(parsed) == _server(_parse(given))
    if named and parsed.password is None and (file := os.environ.get(PASSWORD_FILE)):
        try:
            parsed = parsed.set(password=Path(file).read_text().strip())
        except OSError as error:
            raise UserError(f"{PASSWORD_FILE}={file}: {error.strerror}; name a file that holds the password") from None
    # Notice before use that the server has dropped a connection; then wait for a new one.
    engine: dict[str, object] = {"pool_pre_ping": True}
    if parsed.get_backend_name() == "postgresql":
        engine["connect_args"] = {"connect_timeout": _ANSWER_SECONDS, "tcp_user_timeout": 1000 * _ANSWER_SECONDS}
    try:
        storage = optuna.storages.RDBStorage(parsed.render_as_string(hide_password=False), engine_kwargs=engine)
    except ImportError as error:
        raise UserError(
            f"--storage {public_url(url)}: {str(error).splitlines()[0]} Install it: pip install '.[postgres]'"
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
        is_withheld = not named and PASSWORD_FILE in os.environ
        hint = f"; give its --storage, or {PASSWORD_FILE} is not used" if is_withheld else ""
        raise UserError(f"--storage {public_url(url)} cannot be used: {reason}{hint}") from None
    sqlalchemy.event.listen(storage.engine, "do_connect", _connect_patiently)
    return storage


def looking(study: optuna.Study) -> optuna.Study:
    """The same study through a connection of its own, which waits for nothing: its reads fail fast and can be repeated.

    Args:
        study: In a database, or in memory, which needs no connection.
    """
    storage = getattr(study._storage, "_backend", study._storage)
    if not isinstance(storage, optuna.storages.RDBStorage):
        return study
    url = storage.engine.url
    quick = optuna.storages.RDBStorage(
        url.render_as_string(hide_password=False),
        engine_kwargs={"pool_pre_ping": True, "connect_args": _QUICK.get(url.get_backend_name(), {})},
        skip_table_creation=True,
    )
    return optuna.load_study(study_name=study.study_name, storage=quick)


def ledger_study(
    directory: Path, record: StudyRecord, given: str | None = None, *, moved: str | None = None
) -> optuna.Study | None:
    """The Optuna study of an existing study; None if it has no ledger yet.

    Args:
        directory: The study's folder.
        record: What its `study.json` says.
        given: What the user gave as `--storage`.
        moved: Where its database is, if not where the record says.

    Raises:
        UserError: Its database cannot be used.
    """
    try:
        if record.storage is not None:
            storage = open_storage(moved or record.storage, given)
            return optuna.load_study(study_name=f"{record.name}-{record.id}", storage=storage)
        if _lists(ledger_path(directory), record.name):
            return optuna.load_study(study_name=record.name, storage=f"sqlite:///{ledger_path(directory)}")
    except KeyError:
        pass
    except RuntimeError as error:  # a later Optuna has written it
        raise UserError(f"{ledger_path(directory)}: {' '.join(str(error).split())}") from None
    return None


def _lists(database: Path, name: str) -> bool:
    """Whether a ledger's file has its study already.

    Optuna makes the tables that it misses when it opens a file: beside a driver that makes them now, both would fail.
    """
    if not database.is_file():
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            query = "SELECT 1 FROM studies WHERE study_name = ?"
            return connection.execute(query, (name,)).fetchone() is not None
    except sqlite3.Error as error:
        return "no such table" not in str(error)  # opening it for good tells what to do


def _connect_patiently(
    dialect: sqlalchemy.engine.Dialect, record: object, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Connects as SQLAlchemy would, and tries again while the server does not answer.

    Only connecting is repeated, never a statement: nobody can know whether a statement that was cut off was executed.
    """

    def say(state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1:
            print(f"the ledger's database does not answer: waiting for it, {PATIENCE_SECONDS:g} s", file=sys.stderr)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(dialect.loaded_dbapi.OperationalError),
        wait=tenacity.wait_exponential(max=_LONGEST_PAUSE),
        stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
        before_sleep=say,
        reraise=True,
    )
    return retrying(dialect.connect, *arguments, **options)


def lost_database(error: BaseException) -> str | None:
    """Why the ledger's database does not work, one line; None if the error has nothing to do with it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlalchemy.exc.DBAPIError) and (
            cause.connection_invalidated
            or isinstance(cause, (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError))
        ):
            return str(cause.orig).strip().splitlines()[0]
        cause = cause.__cause__ or cause.__context__
    return None


def _server(url: sqlalchemy.engine.URL) -> tuple[str, str | None, int | None, str | None]:
    return url.get_backend_name(), url.host, url.port, url.username


def _parse(url: str) -> sqlalchemy.engine.URL:
    try:
        parsed = sqlalchemy.engine.make_url(url)
        parsed.get_dialect()  # raises for an unknown kind of database
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise UserError(f"--storage is no database that is known here: {_EXAMPLE}") from None
    if parsed.drivername == "postgresql":  # SQLAlchemy's default driver is one that few have
        parsed = parsed.set(drivername="postgresql+psycopg2")
    if any("pass" in name.lower() for name in parsed.query):
        raise UserError(
            f"--storage: a password does not belong among the URL's options; {_EXAMPLE}, see {PASSWORD_FILE}"
        )
    return parsed
