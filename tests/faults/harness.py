"""Starts studies, breaks something, and compares what ledger, study directory and MLflow say afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.audit import Audit
from study.cli import command_status
from study.disk.files import read_lines
from study.run import run

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0
"""Seconds to wait for something to happen on a busy machine."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@dataclasses.dataclass(frozen=True)
class Row:
    """What a fault did, over all the times it was injected.

    Attributes:
        fault: What went wrong.
        injected: How.
        times: How often.
        lost: Trials or epochs that are missing somewhere.
        duplicated: Trials or epochs that are somewhere twice.
        left_running: Trials or MLflow runs that nobody runs and that nevertheless say RUNNING at the end.
    """

    fault: str
    injected: str
    times: int
    lost: int
    duplicated: int
    left_running: int


ROWS: list[Row] = []
_abandoned = threading.Event()


def expect_clean(found: Audit, fault: str, injected: str, times: int = 1) -> None:
    """Notes the fault for the table, and asserts that nothing came of it."""
    ROWS.append(Row(fault, injected, times, len(found.lost), len(found.duplicated), len(found.left_running)))
    assert (found.lost, found.duplicated, found.left_running) == ([], [], [])


# --- running studies -------------------------------------------------------------------------------------------------


def study_run(*arguments: object) -> int:
    """`python -m study.run ARGUMENTS` in this process, where Ray is already up."""
    return command_status(run, [str(argument) for argument in arguments])


@contextlib.contextmanager
def meanwhile(*steps: Callable[[], object]) -> Iterator[None]:
    """Runs the steps one after another on a thread beside the block, and raises what they raised."""
    errors: list[BaseException] = []
    _abandoned.clear()

    def work() -> None:
        try:
            for step in steps:
                step()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    except BaseException:
        _abandoned.set()
        raise
    finally:
        thread.join(PATIENCE)
    assert not thread.is_alive(), "what was to happen beside the study did not"
    if errors:
        raise errors[0]


def wait_until(condition: Callable[[], Any], what: str, alive: Callable[[], bool] = lambda: True) -> Any:
    """Polls a condition and gives its first true value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert not _abandoned.is_set()
        assert alive(), f"it ended before {what}"
        assert time.monotonic() < deadline, f"no {what} within {PATIENCE:.0f} s"
        time.sleep(0.01)
    return value


def ended(directory: Path) -> int:
    """Trials of a study that have ended."""
    return len(list((directory / "trials").glob("*/outcome.json")))


def epochs_of(attempt: Path) -> int:
    """Epochs an attempt has written."""
    return len(list(read_lines(attempt / "metrics.jsonl")))


class Driver:
    """`python -m study.run` as a process and a group of its own, as a shell starts it.

    Args:
        arguments: Its options.
        environment: Variables to set.
        prefix: A command that runs it.
    """

    def __init__(
        self, *arguments: object, environment: dict[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "study.run", *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            start_new_session=True,
            # A shell that runs these tests in the background would leave its children deaf to SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )

    def wait_until(self, condition: Callable[[], Any], what: str) -> Any:
        """Polls a condition for as long as the driver lives."""
        try:
            return wait_until(condition, what, lambda: self.process.poll() is None)
        except AssertionError as error:
            if self.process.poll() is None:
                self.process.kill()
            raise AssertionError(f"{error}:\n{self.process.communicate()[0]}") from None

    def press_control_c(self) -> None:
        """Sends SIGINT to every process of the group, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Waits for the driver: exit status and output."""
        try:
            output, _ = self.process.communicate(timeout=PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.communicate()
        return self.process.returncode, output


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Callable[[], Callable[[], None]]]:
    """A file system of that size at `path`; gives a function that fills it and returns what makes room again."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)

    def fill() -> Callable[[], None]:
        filler = path / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        return filler.unlink

    try:
        yield fill
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
