"""The file of a local store: made in one step, recognised when it is broken, and replaced then.

MLflow makes its tables one after another. A disk that fills up meanwhile leaves a file that MLflow can neither complete
nor open ("table trace_info already exists").
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

from study.disk.files import SQLITE_COMPANIONS, set_aside_file

_HEADER = b"SQLite format 3\0"
_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def why_broken(database: Path) -> str | None:
    """What is wrong with the file of a store, as the end of a sentence.

    Returns:
        None if nothing is, if there is no file, or if only MLflow can tell, as of a file that another version wrote.
    """
    try:
        with open(database, "rb") as file:
            start = file.read(len(_HEADER))
        if not start:
            return None
        if start != _HEADER:
            # A file of another kind stays where it is: the address of the store is wrong.
            return "is not a SQLite database" if database.suffix in _SUFFIXES else None
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            complaints = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
            if complaints != ["ok"]:
                return f"is damaged ({complaints[0].splitlines()[0]})"
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and _holds_nothing(connection, tables) and not _expected_tables() <= tables:
                return "was made only in part"
    except sqlite3.Error as error:
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _BROKEN:  # not a disk that is full or a file in use
            return f"is damaged ({error})"
    except OSError:
        pass
    return None


def make_store(database: Path, fill: Callable[[Path], object]) -> Path | None:
    """Makes a store in one step: it is there as a whole, or not at all.

    Args:
        database: Its file. One that is there and not empty is kept beside the new one.
        fill: Makes the tables in a file, of another name because MLflow keeps what it has opened open.

    Returns:
        Where the old file is; None if there was none.

    Raises:
        Exception: What `fill` raises; then the old file is where it was.
    """
    for left in database.parent.glob(f".{database.name}.*.new*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    new = database.with_name(f".{database.name}.{uuid.uuid4().hex}.new")
    try:
        fill(new)
        if database.exists() and not database.stat().st_size:
            database.unlink()
        aside = set_aside_file(database, *SQLITE_COMPANIONS)
        os.replace(new, database)
    finally:
        for path in (new, new.with_name(f"{new.name}-journal")):
            path.unlink(missing_ok=True)
    return aside


def _holds_nothing(connection: sqlite3.Connection, tables: set[str]) -> bool:
    """Whether a store has no run; one with runs that lacks tables is of an earlier version, which MLflow upgrades."""
    return "runs" not in tables or connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is None


def _expected_tables() -> set[str]:
    import mlflow.store.db.utils  # it imports what declares the tables
    from mlflow.store.db.base_sql_model import Base

    return {*Base.metadata.tables, "alembic_version"} if mlflow.store.db.utils else set()
