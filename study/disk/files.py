"""Small files: after a crash the old or the new content is whole, and a torn line is not an error."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG}
SQLITE_COMPANIONS = ("-journal", "-wal", "-shm")
"""What the files that belong to a SQLite file end in."""
_SQLITE_REFUSALS = re.compile(
    r"database or disk is full|disk I/O error|attempt to write a readonly database|No space left"
)


def disk_error_reason(error: BaseException) -> str | None:
    """Why the disk refused to read or write, one line; None if the error has another cause.

    SQLAlchemy and Optuna wrap SQLite's errors, and Ray passes only their text, so the causes are searched too.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _REFUSALS:
            where = f"{cause.filename}: " if cause.filename else ""
            return f"{where}{os.strerror(cause.errno)}"
        if not isinstance(cause, OSError) and (match := _SQLITE_REFUSALS.search(str(cause))):
            return match[0]
        cause = cause.__cause__ or cause.__context__
    return None


def write_atomic(path: Path, content: bytes) -> None:
    """Replaces a file's content in one step: a reader sees the old or the new content, never a part.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def set_aside_file(path: Path, *suffixes: str) -> Path | None:
    """Renames a damaged file to the first free `NAME.damaged-N`, since another takes its place.

    Args:
        path: The file.
        suffixes: Of files that belong to it, such as the journal of a database. They follow it, or go if it is gone.

    Returns:
        The new name; None if there was no file.
    """
    aside = None
    if path.exists():
        names = (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))
        aside = next(name for name in names if not name.exists())
    for suffix in suffixes:
        companion = path.with_name(path.name + suffix)
        if aside is None:
            companion.unlink(missing_ok=True)
        elif companion.exists():
            companion.rename(aside.with_name(aside.name + suffix))
    return None if aside is None else path.rename(aside)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object atomically, indented for people."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if the file is missing or holds no whole object."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, one per line. Lines that are not whole objects are skipped."""
    try:
        content = path.read_bytes()
    except OSError:
        return
    for line in content.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value
