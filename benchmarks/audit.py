"""Checks that ledger, study folder and MLflow hold the same trials, each epoch once; reads the files alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna

from study.disk.files import read_json, read_lines
from study.disk.layout import METRICS, OUTCOME, attempt_folders, trial_folders, trial_path
from study.disk.study_json import read_study

_COMPLETED = ("COMPLETE", "completed", "FINISHED")
_STOPPED = ("COMPLETE", "stopped", "FINISHED")
_FAILED = ("FAIL", "failed", "FAILED")
_CUT_OFF = ("RUNNING", None, "KILLED")
"""A trial's state in the ledger, in outcome.json and in MLflow."""


@dataclasses.dataclass
class Audit:
    """Where ledger, folder and MLflow disagree; each entry is one line."""

    lost: list[str] = dataclasses.field(default_factory=list)
    duplicated: list[str] = dataclasses.field(default_factory=list)
    left_running: list[str] = dataclasses.field(default_factory=list)


def ledger_trials(directory: Path) -> list[optuna.trial.FrozenTrial]:
    """All trials of a study's ledger."""
    study = optuna.load_study(study_name=directory.name, storage=f"sqlite:///{directory}/optuna.db")
    return study.get_trials(deepcopy=False)


def merged_epochs(trial: Path, last: int | None = None) -> dict[int, float]:
    """epoch -> loss in a trial's folder. The newest attempt counts. Reads without the code under test.

    Args:
        trial: The trial's folder.
        last: The epoch at which the trial ended. Later ones, from an orphaned process, do not count.
    """
    epochs: dict[int, float] = {}
    for _, attempt in attempt_folders(trial):
        for line in read_lines(attempt / METRICS):
            epochs[line["epoch"]] = line["train/loss"]
    return {epoch: loss for epoch, loss in epochs.items() if last is None or epoch <= last}


def audit(
    directory: Path,
    epochs: int,
    *,
    trials: int | None = None,
    failed: Sequence[int] = (),
    cut_off: Sequence[int] = (),
    stopped: Mapping[int, int] | None = None,
    only: Sequence[int] | None = None,
    mlflow: Path | None = None,
) -> Audit:
    """Compares what is there with what should be there.

    Args:
        directory: The folder of a study whose driver has ended.
        epochs: Epochs of each trial.
        trials: How many trials there should be; None for all that ledger, folders and MLflow know together.
        failed: Numbers of the trials that should have failed.
        cut_off: Numbers of the trials that should wait for the next driver. All others should be complete.
        stopped: Epochs of the trials that should have been stopped, by number.
        only: Checks these trials alone.
        mlflow: The SQLite file of the store; by default the local one.
    """
    found = Audit()
    ledger = {trial.number: trial for trial in ledger_trials(directory)}
    assignments = Counter(json.dumps(trial.user_attrs.get("params"), sort_keys=True) for trial in ledger.values())
    found.duplicated += [f"ledger: {params} {n} times" for params, n in assignments.items() if n > 1]
    study = read_study(directory)
    assert study is not None
    runs = mlflow_runs(mlflow or directory.parent / "mlflow.db", study.id)
    parents = [run for run in runs if run.number is None]
    found.lost += [] if parents else ["MLflow: parent run"]
    found.duplicated += ["MLflow: parent run"] * (len(parents) - 1)
    found.left_running += ["MLflow: parent run" for run in parents if run.status == "RUNNING"]
    known = {*ledger, *(number for number, _ in trial_folders(directory))}
    known |= {run.number for run in runs if run.number is not None}
    if trials is not None:
        found.duplicated += [f"trial {number}, of {trials}" for number in known if number >= trials]
        known |= set(range(trials))
    for number in sorted(known if only is None else only):
        ended = _STOPPED if stopped and number in stopped else _COMPLETED
        expected = _FAILED if number in failed else _CUT_OFF if number in cut_off else ended
        last = (stopped or {}).get(number, epochs)
        mine = [run for run in runs if run.number == number]
        _compare_trial(found, trial_path(directory, number), ledger.get(number), mine, expected, last)
    return found


def _compare_trial(
    found: Audit,
    folder: Path,
    trial: optuna.trial.FrozenTrial | None,
    runs: list[MlflowRun],
    expected: tuple[str, str | None, str],
    epochs: int,
) -> None:
    number = int(folder.name)
    outcome = read_json(folder / OUTCOME) or {}
    seen = (trial and trial.state.name, outcome.get("outcome"), runs[0].status if runs else None)
    if seen != expected:
        found.lost.append(f"trial {number} is {seen}, not {expected}")
    if seen[0] in ("RUNNING", "WAITING") and expected is not _CUT_OFF:
        found.left_running.append(f"ledger: trial {number}")
    found.left_running += [f"MLflow: trial {number}" for run in runs if run.status == "RUNNING"]
    found.duplicated += [f"MLflow: trial {number}"] * (len(runs) - 1)
    # How many epochs there should be is not known of other trials.
    is_known = expected in (_COMPLETED, _STOPPED)
    losses = merged_epochs(folder, outcome.get("epochs") if is_known else None)
    last = epochs if is_known else max(losses, default=0)
    if sorted(losses) != list(range(1, last + 1)):
        found.lost.append(f"trial {number} has epochs {sorted(losses)}")
    logged = runs[0].epochs if runs else []
    counts = Counter(epoch for epoch, _ in logged)
    found.lost += [f"MLflow: epoch {epoch} of {number}" for epoch in losses.keys() - counts.keys()]
    found.duplicated += [f"MLflow: epoch {epoch} of {number}" for epoch, times in counts.items() if times > 1]
    found.duplicated += [f"MLflow: epoch {epoch} of {number}, not on disk" for epoch in counts.keys() - losses.keys()]
    wrong = [epoch for epoch, loss in logged if epoch in losses and abs(losses[epoch] - loss) > 1e-9 * abs(loss)]
    found.lost += [f"MLflow: epoch {epoch} of {number} has another loss" for epoch in wrong]


@dataclasses.dataclass(frozen=True)
class MlflowRun:
    number: int | None
    status: str
    epochs: list[tuple[int, float]]


def mlflow_runs(database: Path, study_id: str) -> list[MlflowRun]:
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
            MlflowRun(None if number is None else int(number), status, store.execute(query, (identity,)).fetchall())
            for identity, status, number in runs
        ]
