"""Starts studies, breaks something, and compares what ledger, study directory and MLflow say afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.cli import command_status
from study.files import read_json, read_lines
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


@dataclasses.dataclass
class Audit:
    """Where ledger, directory and MLflow disagree; each entry is one line."""

    lost: list[str] = dataclasses.field(default_factory=list)
    duplicated: list[str] = dataclasses.field(default_factory=list)
    left_running: list[str] = dataclasses.field(default_factory=list)

    def expect_clean(self, fault: str, injected: str, times: int = 1) -> None:
        """Notes the fault for the table, and asserts that nothing came of it."""
        ROWS.append(Row(fault, injected, times, len(self.lost), len(self.duplicated), len(self.left_running)))
        assert (self.lost, self.duplicated, self.left_running) == ([], [], [])


def ledger_trials(directory: Path) -> list[optuna.trial.FrozenTrial]:
    """All trials of a study's ledger."""
    study = optuna.load_study(study_name=directory.name, storage=f"sqlite:///{directory}/optuna.db")
    return study.get_trials(deepcopy=False)


def merged_epochs(trial: Path) -> dict[int, float]:
    """epoch -> loss of a trial's folder, the newest attempt winning; read without the code under test."""
    epochs: dict[int, float] = {}
    for attempt in sorted(trial.glob("attempt-*"), key=lambda path: int(path.name[8:])):
        for line in read_lines(attempt / "metrics.jsonl"):
            epochs[line["epoch"]] = line["train/loss"]
    return epochs


def audit(
    directory: Path, epochs: int, *, trials: int | None = None, failed: Sequence[int] = (), mlflow: Path | None = None
) -> Audit:
    """Compares what is there with what should be.

    Args:
        directory: A study that has ended.
        epochs: Of each trial.
        trials: How many there should be; None for as many as there are in the ledger.
        failed: Numbers of those that should have failed; all others should have been trained to their end.
        mlflow: The SQLite file of the store; by default the local one.
    """
    found = Audit()
    ledger = ledger_trials(directory)
    wanted = range(len(ledger) if trials is None else trials)
    states = {trial.number: trial.state.name for trial in ledger}
    assignments = Counter(json.dumps(trial.user_attrs.get("params"), sort_keys=True) for trial in ledger)
    found.duplicated += [f"ledger: {params} {n} times" for params, n in assignments.items() if n > 1]
    found.left_running += [f"ledger: trial {n} {s}" for n, s in states.items() if s in ("RUNNING", "WAITING")]
    runs = _mlflow_runs(mlflow or directory.parent / "mlflow.db", str(read_json(directory / "study.json")["id"]))  # type: ignore[index]
    parents = [run for run in runs if run.number is None]
    found.lost += [] if parents else ["MLflow: parent run"]
    found.duplicated += ["MLflow: parent run"] * (len(parents) - 1)
    found.left_running += [f"MLflow: {run.number} RUNNING" for run in runs if run.status == "RUNNING"]
    for number in wanted:
        expected = ("FAIL", "failed", "FAILED") if number in failed else ("COMPLETE", "completed", "FINISHED")
        folder = directory / "trials" / f"{number:04d}"
        outcome = (read_json(folder / "outcome.json") or {}).get("outcome")
        mine = [run for run in runs if run.number == number]
        found.duplicated += [f"MLflow: trial {number}"] * (len(mine) - 1)
        seen = (states.get(number), outcome, mine[0].status if mine else None)
        if seen != expected:
            found.lost.append(f"trial {number} is {seen}, not {expected}")
        losses = merged_epochs(folder)
        if number not in failed and sorted(losses) != list(range(1, epochs + 1)):
            found.lost.append(f"trial {number} has epochs {sorted(losses)}")
        logged = mine[0].epochs if mine else []
        found.lost += [f"MLflow: epoch {epoch} of {number}" for epoch in losses if epoch not in dict(logged)]
        counts = Counter(epoch for epoch, _ in logged)
        found.duplicated += [f"MLflow: epoch {epoch} of {number}" for epoch, times in counts.items() if times > 1]
        wrong = [epoch for epoch, loss in logged if epoch in losses and abs(losses[epoch] - loss) > 1e-9 * abs(loss)]
        found.lost += [f"MLflow: epoch {epoch} of {number} has another loss" for epoch in wrong]
    return found


@dataclasses.dataclass(frozen=True)
class _Run:
    number: int | None
    status: str
    epochs: list[tuple[int, float]]


def _mlflow_runs(database: Path, study_id: str) -> list[_Run]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        runs = store.execute(
            "SELECT r.run_uuid, r.status, n.value FROM runs r "
            "JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'study.id' AND t.value = ? "
            "LEFT JOIN tags n ON n.run_uuid = r.run_uuid AND n.key = 'trial.number' "
            "WHERE r.lifecycle_stage = 'active'",
            (study_id,),
        ).fetchall()
        query = "SELECT step, value FROM metrics WHERE run_uuid = ? AND key = 'train/loss' ORDER BY step"
        return [
            _Run(None if number is None else int(number), status, store.execute(query, (identity,)).fetchall())
            for identity, status, number in runs
        ]


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
        output, _ = self.process.communicate(timeout=PATIENCE)
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
