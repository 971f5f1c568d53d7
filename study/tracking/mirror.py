"""Runs the writer, on a thread of the driver or once by hand. A dead server holds up nobody."""

from __future__ import annotations

import contextlib
import shlex
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from study.config import UserError
from study.disk.files import disk_error_reason
from study.disk.layout import study_names
from study.tracking.description import read_study
from study.tracking.store import (
    LOCAL_SERVER,
    artifact_root,
    check_uri,
    connect,
    default_tracking_uri,
    one_line,
    redact,
    server_page,
    sqlite_path,
    sqlite_uri,
    sync_command,
)
from study.tracking.writer import SyncReport, Writer

_INTERVAL_S = 2.0
_LONGEST_PAUSE_S = 60.0


class MirrorBusyError(Exception):
    """Another process writes this study into MLflow."""


class Mirror:
    """Keeps MLflow equal to a study's folder, from a background thread that no trial ever waits for.

    A failed pass is reported once, in one line, and tried again after pauses that grow to a minute. A later pass, or
    `python -m study.sync`, writes what it left out.

    Args:
        study_dir: The study's folder, with its `study.json`.
        tracking_uri: Any SQL store or MLflow server.
        interval: Seconds between passes.
        report: Takes a line for the user; by default prints it to standard error.

    Raises:
        UserError: The tracking URI is of no known kind.
    """

    def __init__(
        self,
        study_dir: Path,
        tracking_uri: str,
        *,
        interval: float = _INTERVAL_S,
        report: Callable[[str], None] | None = None,
    ) -> None:
        check_uri(tracking_uri)
        self._directory = Path(study_dir).absolute()
        self._uri = tracking_uri
        self._interval = interval
        self._tell = report or (lambda line: print(line, file=sys.stderr))
        self._writer: Writer | None = None
        # Two processes could each create a trial's run. The lock is taken by one thread and released by another.
        self._lock = FileLock(self._directory / "mlflow.lock", timeout=0, thread_local=False)
        self._thread = threading.Thread(target=self._run, name="mlflow-mirror", daemon=True)
        self._closing = threading.Event()
        self._outcome = "interrupted"
        self._complete = False
        self._told: set[str] = set()
        self._stumbled = False
        self.failure: str | None = None
        """Why the newest pass failed, one line without secrets; None if it succeeded."""
        self.last_report: SyncReport | None = None
        """What the newest pass that succeeded left in MLflow."""

    def start(self) -> None:
        """Starts the thread and returns at once: the thread imports MLflow."""
        self._thread.start()

    def close(self, timeout_s: float = 30.0, outcome: str = "interrupted") -> bool:
        """Ends the thread after a last pass, which also sets every run's final status.

        Args:
            timeout_s: How long to wait for the thread. If it takes longer, it goes on until the process exits.
            outcome: How the study ended: `completed`, `interrupted` or `failed`.

        Returns:
            Whether everything in the folder is in MLflow.
        """
        self._outcome = outcome
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return self._complete and not self._thread.is_alive()

    def sync(self, ended: str | None = None) -> SyncReport:
        """Runs one pass in the calling thread.

        Args:
            ended: How the study ended; None while it runs.

        Raises:
            MirrorBusyError: Another process writes this study.
            Exception: What the store raises. The next pass then asks again what the store holds.
        """
        self.acquire()
        try:
            if self._writer is None:
                # The folders hold all of their own store. Another may hold more.
                is_own = self._uri == default_tracking_uri(self._directory.parent)
                client = connect(self._uri, self._tell_of_new_store if is_own else None)
                self._writer = Writer(self._directory, client, artifact_root(self._uri, self._directory.parent))
            self._writer.sync(ended)
        except BaseException:
            self._writer = None
            raise
        self.last_report = self._writer.report()
        return self.last_report

    def acquire(self) -> None:
        """Keeps other processes from writing this study.

        Raises:
            MirrorBusyError: Another process writes it already.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise MirrorBusyError(f"another process is writing study {self._directory.name} into MLflow") from None

    def release(self) -> None:
        """Lets another process write this study."""
        self._lock.release(force=True)

    def location(self) -> str:
        """Says where to look at the study, without secrets: its page, and for a database the command that serves it."""
        return location(self._uri, None if self.last_report is None else self.last_report.page)

    def _tell_of_new_store(self, line: str) -> None:
        runs = self._directory.parent
        others = len(study_names(runs)) > 1
        self._tell(line + (f"; its other studies: {sync_command(runs, self._uri)}" if others else ""))

    def _run(self) -> None:
        pause = self._interval
        try:
            while not self._closing.is_set():
                pause = self._interval if self._attempt(None) else min(2 * pause, _LONGEST_PAUSE_S)
                self._closing.wait(pause)
            if self._stumbled:
                self._writer = None  # A request given up as lost may have been carried out: ask what is there.
            # If the store was well until now, one more try: the writer may have been wrong about what is there.
            attempts = 1 if self.failure else 2
            self._complete = any(self._attempt(self._outcome) for _ in range(attempts))
        finally:
            self.release()

    def _attempt(self, ended: str | None) -> bool:
        try:
            report = self.sync(ended)
        except Exception as error:  # Whatever the store does, the study goes on.
            if self.failure is None:
                self._tell(f"MLflow at {redact(self._uri)} cannot be written, trying again: {one_line(error)}")
            self.failure = one_line(error)
            self._stumbled = True
            return False
        if self.failure is not None:
            self._tell(f"MLflow at {redact(self._uri)} is up to date again")
            self.failure = None
        for problem in report.problems:
            if problem not in self._told:
                self._told.add(problem)
                self._tell(f"MLflow: {problem}")
        return True


def location(tracking_uri: str, page: str | None) -> str:
    """Says where to look at a study, without secrets.

    Args:
        tracking_uri: A store or server.
        page: The study's address within MLflow's UI; None if it is not known yet.

    Returns:
        The address of the page or the server. For a database, the command that serves it follows on a line of its own.
    """
    server = server_page(tracking_uri)
    if server is not None:
        return server if page is None else f"{server}/{page}"
    database = sqlite_path(tracking_uri)
    store = redact(tracking_uri) if database is None else sqlite_uri(database)
    command = f"mlflow ui --backend-store-uri {shlex.quote(store)}"
    return command if page is None else f"{LOCAL_SERVER}/{page}\n         after: {command}"


def sync_study(study_dir: Path, tracking_uri: str) -> SyncReport:
    """Rebuilds or completes a study in MLflow from its folder, and writes nothing twice.

    Raises:
        UserError: There is no such study, its driver is still running, or the store cannot be written.
    """
    mirror = Mirror(study_dir, tracking_uri)
    try:
        mirror.acquire()
        outcome = str(read_study(study_dir).outcome)
        # We hold the lock, so nobody runs the study, whatever its file says.
        ended = "interrupted" if outcome == "running" else outcome
        # A second try, as in the thread: a server may have closed a connection that was kept alive.
        with contextlib.suppress(Exception):
            return mirror.sync(ended)
        return mirror.sync(ended)
    except MirrorBusyError as error:
        raise UserError(f"{error}: run this again after the study has ended") from None
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"MLflow at {redact(tracking_uri)} cannot be written: {_told(error, tracking_uri)}") from error
    finally:
        mirror.release()


def _told(error: Exception, tracking_uri: str) -> str:
    """An error of a store in one line, and what to do about it if it is a local one."""
    database, reason = sqlite_path(tracking_uri), disk_error_reason(error)
    if database is None:
        return one_line(error)
    if reason is not None:
        return f"{reason}: make room or give permission, then run this again"
    text = one_line(error)
    if isinstance(error, Timeout) or "database is locked" in text:
        return f"{text}; another process writes it: run this again when that has ended"
    if "schema" in text or "revision" in text:
        return f"{text}; another version of MLflow wrote {database}: use that version, or give another --tracking-uri"
    return text
