"""Starts Ray on this machine, or joins a running cluster, and checks that it has room for a trial.

Nothing here imports torch, so Ray can start while a command still imports the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our trials write their own records
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # its experiment snapshots are never restored
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # see study.tuning.interrupts
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a trial's error.txt has it
    "RAY_task_oom_retries": "3",  # of a task out of memory; Ray's default is for ever
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def _set_environment() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


_set_environment()  # Ray reads some of it when it is imported, the rest when it starts

import ray  # noqa: E402

from study.config import UserError  # noqa: E402
from study.disk.files import disk_error_reason  # noqa: E402
from study.tuning.preflight import check_address, check_token  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What a trial gets, and how many run at once.

    Attributes:
        cpus: CPU cores of a trial; also its threads.
        gpus: GPUs of a trial; a fraction lets several share one, and a trial uses all of several.
        max_concurrent: Most trials at once; None for as many as fit.
        memory: Bytes that a trial holds, so that no more begin on a node than it has room for; 0 if not known.
    """

    cpus: float = 1
    gpus: float = 0
    max_concurrent: int | None = None
    memory: int = 0

    @property
    def bundle(self) -> dict[str, float]:
        """What a trial asks Ray for, all of it on one node."""
        asked = (("CPU", self.cpus), ("GPU", self.gpus), ("memory", self.memory))
        return {name: amount for name, amount in asked if amount > 0}


class Cluster:
    """Ray on this machine, or the cluster at an address. The end of the `with` block leaves it.

    If this process has already joined a Ray, that one is used and left running. Without an address, RAY_ADDRESS counts,
    as everywhere in Ray.

    Args:
        address: `HOST:PORT` or `auto`; None starts Ray on this machine.
        resources: What a trial gets.
    """

    def __init__(self, address: str | None, resources: Resources) -> None:
        self.resources = resources
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._joined = False
        self._leaving: threading.Thread | None = None
        self._sessions: set[Path] = set()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        self.wait()

    def join(self) -> None:
        """Starts or joins Ray, once.

        Raises:
            UserError: There is no such cluster, it refuses this process, or no node has room for a trial.
        """
        if self._joined:
            return
        self.wait()
        _set_environment()
        if self._address:
            check_token(os.environ)
            check_address(self._address)
        if not ray.is_initialized():
            self._joined = True  # from here on `leave` has work, even if Ray fails to start
            with _signals_wait():
                self._connect()
        _check_room(self.resources)

    @property
    def is_here(self) -> bool:
        """Whether this process started Ray, on this machine. Then its own work takes no trial's place."""
        return self._joined and not self._address

    def leave(self) -> None:
        """Starts to leave Ray on a thread, because Ray waits for its processes."""
        if self._joined:
            self._joined = False
            gc.collect()  # freeing a Ray object during the shutdown would end this process without a message
            self._leaving = threading.Thread(target=self._shut_down, name="ray-shutdown")
            self._leaving.start()

    def _shut_down(self) -> None:
        ray.shutdown()
        for session in self._sessions:  # Ray would leave its logs and sockets behind, a folder for every study
            shutil.rmtree(session, ignore_errors=True)
        self._sessions = set()

    def wait(self) -> None:
        """Waits until Ray has ended its processes here; interrupted trials have been told to end."""
        if self._leaving is not None:
            self._leaving.join()

    def _connect(self) -> None:
        address = self._address
        if not address:
            _ensure_token()
        others = _session_folders()
        started: list[subprocess.Popen[Any]] = []
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the study's end tells what failed
        try:
            with _children_in_other_groups(started):
                joined: Any = ray.init(
                    address=address or "local",  # without one Ray would join any cluster that runs on this machine
                    include_dashboard=None if address else False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            if not address:
                self._sessions.add(Path(joined.address_info["session_dir"]))
        except BaseException as error:  # Ray raises anything, on a busy machine a bare Exception
            if not address:  # what it has started is unknown to ray.shutdown
                for server in started:
                    server.kill()
                for server in started:
                    server.wait()
                self._sessions |= _session_folders() - others
            if not isinstance(error, Exception):
                raise
            why = disk_error_reason(error)
            if why is not None and not address:
                raise UserError(f"Ray cannot start: {why}: set RAY_TMPDIR to a folder that you may write") from error
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            if not address:
                remedy = "; set RAY_TMPDIR to a folder with a short path, such as /tmp" if "AF_UNIX" in reason else ""
                raise UserError(f"Ray does not start on this machine: {reason}{remedy}") from error
            raise UserError(
                f"--address {address}: this process cannot join the cluster ({reason}): run it on a node of the "
                "cluster, with its token and versions"
            ) from error


@contextlib.contextmanager
def _children_in_other_groups(started: list[subprocess.Popen[Any]]) -> Iterator[None]:
    """Processes that this thread begins in the block are in process groups of their own; `started` collects them.

    `timeout`, terminals and batch systems signal a whole group. If Ray's servers ended at the same moment as the driver
    is asked to, Ray would wait a minute for them and then end the driver in the middle of its last words. Ray has no
    option for it. This process cannot change its own group for a while instead, where it leads a session.

    On Linux alone: there the kernel ends Ray's servers with this process; elsewhere Ray ends its group.
    """
    before = subprocess.Popen.__init__  # Ray has a class of its own that derives from it
    thread = threading.get_ident()

    def apart(self: Any, *arguments: Any, **options: Any) -> None:
        is_ours = threading.get_ident() == thread
        if is_ours and sys.platform == "linux" and not options.get("start_new_session"):
            options = {"process_group": 0, **options}
        before(self, *arguments, **options)
        if is_ours:
            started.append(self)

    subprocess.Popen.__init__ = apart
    try:
        yield
    finally:
        subprocess.Popen.__init__ = before


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Signals that arrive in the block are answered at its end, by the handlers from before; a second one at once.

    An exception that a handler raises while Ray forks its servers is lost, and may leave the lock of `logging` taken
    for ever. Ray's own handler of SIGTERM, which exits with status 15, is not installed.
    """
    if threading.current_thread() is not threading.main_thread():  # only there Python handles signals
        yield
        return
    install, waiting = signal.signal, []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def note(number: int, frame: Any) -> None:
        waiting.append(number)
        if len(waiting) > 1:
            _put_back()
            signal.raise_signal(number)

    def _put_back() -> None:
        signal.signal = install
        for number, handler in before.items():
            signal.signal(number, handler)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    signal.signal = lambda number, handler: signal.getsignal(number) if number in before else install(number, handler)
    try:
        yield
    finally:
        _put_back()
        if len(waiting) == 1:
            signal.raise_signal(waiting[0])


def _session_folders() -> set[Path]:
    """The folders of the Rays that this process has started: Ray puts the process's id at the end of their names."""
    temporary = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    return set(temporary.glob(f"ray/session_*_{os.getpid()}"))


def _ensure_token() -> None:
    """Gives Ray a token if it can neither find one nor write one into the home folder."""
    home = Path.home()
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ) or (home / ".ray").exists():
        return
    if not os.access(home, os.W_OK):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def room(resources: Resources) -> int:
    """How many trials may run at once on the present nodes."""
    bundle = resources.bundle
    fit = sum(min(int(node.get(name, 0) / amount + 1e-9) for name, amount in bundle.items()) for node in _nodes())
    return fit if resources.max_concurrent is None else min(fit, resources.max_concurrent)


def _check_room(resources: Resources) -> None:
    if not room(resources):
        bundle = resources.bundle
        asked = " ".join(f"--{name.lower()}s-per-trial {amount:g}" for name, amount in bundle.items())
        has = ", ".join(" ".join(f"{node.get(name, 0):g} {name}" for name in bundle) for node in _nodes())
        raise UserError(f"{asked}: no node of the Ray cluster has room ({has}); ask for less, or add a worker")
