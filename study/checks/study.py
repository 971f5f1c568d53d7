"""Whether a study is sound: its driver, its ledger, its folders and its checkpoints."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import filelock

from study.checks.finding import Finding, check_changes, check_database, unwritable
from study.config import UserError
from study.disk.files import disk_error_reason, read_json
from study.disk.layout import (
    attempt_folders,
    driver_path,
    ledger_path,
    lock_path,
    rebuild_command,
    restore_command,
    trial_folders,
)
from study.disk.study_json import StudyRecord, read_study
from study.session.resuming import resume_command

_PERMISSION = "give yourself permission to write in the study's folder"


def check_driver(directory: Path) -> Iterator[Finding]:
    """Whether a process runs the study, or should."""
    lock = filelock.FileLock(lock_path(directory), timeout=0)
    try:
        with lock:
            record = sound_record(directory)
    except filelock.Timeout:
        owner = read_json(driver_path(directory)) or {}
        yield Finding("driver", f"process {owner.get('pid', '?')} on {owner.get('host', '?')} runs it")
        return
    except OSError as error:
        yield Finding("driver", disk_error_reason(error) or str(error), _PERMISSION)
        return
    if record is None:
        yield Finding("driver", "none")
        return
    seen = "its driver died" if record.outcome == "running" else f"the study is {record.outcome}"
    unfinished = record.outcome in ("running", "interrupted")
    yield Finding(
        "driver", f"none; {seen}", f"resume it: {resume_command(record, directory.parent)}" if unfinished else ""
    )


def sound_record(directory: Path) -> StudyRecord | None:
    """The study's record; None if it is damaged, which `check_ledger` reports."""
    with contextlib.suppress(UserError):
        return read_study(directory)
    return None


def check_ledger(directory: Path, storage: str | None, given: str | None) -> Iterator[Finding]:
    """Whether record and ledger are readable, and the ledger knows the same trials as the folders.

    Args:
        directory: The study's folder.
        storage: The database of the ledger; None for the study's own file.
        given: The database that the user named, which alone may get the password.
    """
    try:
        record = read_study(directory)
    except UserError as error:
        what, _, remedy = str(error).partition(": ")
        lost = restore_command(directory) in remedy
        yield Finding("study.json", what, f"restore it: {restore_command(directory)}" if lost else remedy)
        return
    if storage is not None and record is not None:
        yield from check_database(storage, given, f"{record.name}-{record.id}")
        yield from check_changes(directory, record.replace(storage=storage), given)
        return
    database = ledger_path(directory)
    try:
        # Not mode=ro: if a driver died in the middle of a write, SQLite must roll its journal back, which takes
        # permission to write. SQLite's locks protect a driver at work.
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            complaints = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            states = dict(connection.execute("SELECT state, COUNT(*) FROM trials GROUP BY state").fetchall())
            numbers = {row[0] for row in connection.execute("SELECT number FROM trials WHERE state != 'WAITING'")}
    except sqlite3.Error as error:
        restore = f"rebuild it: {rebuild_command(directory)}"
        remedy = "make room, and give yourself permission to write there" if disk_error_reason(error) else restore
        yield Finding("ledger", f"{database}: {error}", remedy)
        return
    if complaints != ["ok"]:
        remedy = f"rebuild it: {rebuild_command(directory)}"
        yield Finding("ledger", f"{len(complaints)} errors, the first: {complaints[0]}", remedy)
    else:
        counted = ", ".join(f"{count} {state.lower()}" for state, count in sorted(states.items()))
        yield Finding("ledger", f"sound; trials: {counted or 'none'}")
        if record is not None:
            yield from check_changes(directory, record, given)
    folders = {number for number, _ in trial_folders(directory)}
    missing, strange = sorted(numbers - folders), sorted(folders - numbers)
    if missing:
        yield Finding("folders", f"trials {missing[:5]} have none", "restore them: the ledger lists these trials")
    if strange:
        remedy = f"rebuild it: {rebuild_command(directory)}"
        yield Finding("folders", f"the ledger does not list trials {strange[:5]}", remedy)


def check_files(directory: Path) -> Iterator[Finding]:
    """Whether the study's folder is writable and its checkpoints are whole."""
    why = unwritable(directory)
    yield Finding("folder", f"{directory}: {why or 'writable'}", _PERMISSION if why else "")
    from study.training import checkpoint  # imports torch

    damaged = []
    attempts = (attempt for _, trial in trial_folders(directory) for _, attempt in attempt_folders(trial))
    for path in (path for attempt in attempts for path in sorted(attempt.glob("*.pt"))):
        try:
            checkpoint.verify(path)
        except checkpoint.CheckpointError as error:
            damaged.append(str(error))
    seen = f"{len(damaged)} damaged, the first: {damaged[0]}" if damaged else "all sound"
    remedy = "delete them: an unfinished trial continues from the one before" if damaged else ""
    yield Finding("checkpoints", seen, remedy)
