"""Who runs a study: a lock that one process alone holds, and a mark that tells who it is and that it still lives."""

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
from study.disk.layout import driver_path

HEARTBEAT_SECONDS = 20.0
SILENT_SECONDS = 180.0
"""A driver on another machine that has not touched its mark for so long is dead: its process cannot be asked for, and
network file systems and clocks lag."""


class Driver(NamedTuple):
    """The process that runs a study.

    Attributes:
        host: Its machine.
        pid: Its process id there.
        begun: Since when, Unix seconds.
        deadline: When no trial is to begin any more, Unix seconds; None for no limit.
    """

    host: str
    pid: int
    begun: float
    deadline: float | None = None


@contextlib.contextmanager
def driving(directory: Path, deadline: float | None = None) -> Iterator[None]:
    """Holds the study for this process alone, and tells others so for as long as the block lasts.

    Raises:
        UserError: Another driver holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    mark = driver_path(directory)
    lock = filelock.FileLock(directory / ".driver.lock", timeout=0)
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


def living_driver(directory: Path, now: float) -> Driver | None:
    """Who runs the study at that moment (Unix seconds); None where nobody does, or who did has died."""
    mark = driver_path(directory)
    try:
        driver = Driver(**(read_json(mark) or {}))
        here = driver.host == socket.gethostname()
        alive = _exists(int(driver.pid)) if here else now - mark.stat().st_mtime < SILENT_SECONDS
    except (OSError, TypeError, ValueError):  # it has just ended, or the mark is not one of ours
        return None
    return driver if alive else None


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:  # it lives, as another user
        return True
    except (OSError, OverflowError):
        return False
    return True


@contextlib.contextmanager
def _touching(mark: Path) -> Iterator[None]:
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # on a full disk, say; the next time it may work
                os.utime(mark)

    thread = threading.Thread(target=touch, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
