"""Who runs a study: a lock for one process, and a file that names the process and shows that it is alive."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import filelock

from study.config import UserError
from study.disk.files import read_json, write_json
from study.disk.layout import driver_path, lock_path

HEARTBEAT_SECONDS = 20.0
SILENT_SECONDS = 180.0
"""A driver on another machine that has not touched its file for so long is taken for dead. Its process cannot be looked
up from here, and network file systems and clocks lag."""

MOMENT_SECONDS = 2.0
"""How long a driver waits for the lock of a study that none seems to run: others hold it for moments (`undriven`)."""


class Driver(NamedTuple):
    """The process that runs a study.

    Attributes:
        host: Its machine.
        pid: Its process id there.
        begun: When it began, Unix seconds.
        deadline: After this no trial begins, Unix seconds; None for no limit.
    """

    host: str
    pid: int
    begun: float
    deadline: float | None = None


@contextlib.contextmanager
def driving(directory: Path, deadline: float | None = None) -> Iterator[None]:
    """Reserves the study for this process until the block ends, and tells others so.

    Raises:
        UserError: Another driver holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    mark = driver_path(directory)
    begun = living_driver(directory, time.time()) is not None
    lock = filelock.FileLock(lock_path(directory), timeout=0 if begun else MOMENT_SECONDS)
    try:
        lock.acquire()
    except filelock.Timeout:
        owner = read_json(mark) or {}
        raise UserError(
            f"study {directory.name!r} is being run by process {owner.get('pid', '?')} on {owner.get('host', '?')}: "
            "wait for it, or end it first"
        ) from None
    try:
        write_json(mark, Driver(socket.gethostname(), os.getpid(), time.time(), deadline)._asdict())
        with _touching(mark):
            yield
    finally:
        mark.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def undriven(directory: Path) -> Iterator[bool]:
    """Keeps drivers away from the study for the moment of the block; gives False if one is at work."""
    lock = filelock.FileLock(lock_path(directory), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def living_driver(directory: Path, now: float) -> Driver | None:
    """The process that runs the study now (Unix seconds); None if there is none or it has died."""
    mark = driver_path(directory)
    try:
        driver = Driver(**(read_json(mark) or {}))
        here = driver.host == socket.gethostname()
        alive = _exists(int(driver.pid)) if here else now - mark.stat().st_mtime < SILENT_SECONDS
    except (OSError, TypeError, ValueError):  # it has just ended, or the file is not ours
        return None
    return driver if alive else None


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:  # it is alive, as another user
        return True
    except (OSError, OverflowError):
        return False
    return True


@contextlib.contextmanager
def _touching(mark: Path) -> Iterator[None]:
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # the disk may be full now and not the next time
                os.utime(mark)

    thread = threading.Thread(target=touch, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
