"""The file of a local store: made in one step, and examined and replaced if MLflow cannot open it.

MLflow makes its tables one after another. A disk that fills up meanwhile leaves a file that MLflow can neither complete
nor open ("table trace_info already exists").

SQLite alone opens these files. To open one otherwise and close it drops every lock that this process holds on it, those
of its own writers too (sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

from study.disk.files import SQLITE_COMPANIONS, set_aside_file

_BROKEN = {sqlite3.SQLITE_CORRUPT: "is damaged", sqlite3.SQLITE_NOTADB: "is not a SQLite database"}


def why_broken(database: Path) -> str | None:
    """What is wrong with the file of a store that MLflow cannot open, as the end of a sentence.

    Returns:
        None if the file is sound, missing, empty or unreadable, or if only MLflow can tell, as of another version's.
    """
    if not database.is_file() or not database.stat().st_size:
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            [first, *_] = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
            complaint = first.splitlines()[-1]
            if complaint != "ok":
                # A page that the disk does not give is no damage of the file.
                is_damage = "error code=" not in complaint or complaint.endswith(f"={sqlite3.SQLITE_CORRUPT}")
                return f"is damaged ({complaint})" if is_damage else None
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and _holds_nothing(connection, tables) and not _expected_tables() <= tables:
                return "was made only in part"
    except sqlite3.Error as error:
        return _BROKEN.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)  # not a disk that is full or a file in use
    return None


def make_store(database: Path, fill: Callable[[Path], object], *, replace: bool) -> Path | None:
    """Makes a store in one step: it is there as a whole, or not at all.

    Args:
        database: Its file.
        fill: Makes the tables in a file, of another name because MLflow keeps what it has opened open.
        replace: Whether a file that is there is kept beside the new one. If not, it stays in its place: another process
            has made it meanwhile.

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
        if not replace:
            with contextlib.suppress(FileExistsError):
                os.link(new, database)
            return None
        aside = set_aside_file(database, *SQLITE_COMPANIONS)
        os.replace(new, database)
        return aside
    finally:
        for path in (new, new.with_name(f"{new.name}-journal")):
            path.unlink(missing_ok=True)


def _holds_nothing(connection: sqlite3.Connection, tables: set[str]) -> bool:
    """Whether a store has no run; one with runs that lacks tables is of an earlier version, which MLflow upgrades."""
    return "runs" not in tables or connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is None


def _expected_tables() -> set[str]:
    from mlflow.store.db.base_sql_model import Base

    importlib.import_module("mlflow.store.db.utils")  # it imports what declares the tables
    return {*Base.metadata.tables, "alembic_version"}
