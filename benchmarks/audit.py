"""Whether ledger, study directory and MLflow tell of the same trials, each epoch once; read from the files alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import optuna

from study.files import read_json, read_lines


@dataclasses.dataclass
class Audit:
    """Where ledger, directory and MLflow disagree; each entry is one line."""

    lost: list[str] = dataclasses.field(default_factory=list)
    duplicated: list[str] = dataclasses.field(default_factory=list)
    left_running: list[str] = dataclasses.field(default_factory=list)


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
    runs = mlflow_runs(mlflow or directory.parent / "mlflow.db", str(read_json(directory / "study.json")["id"]))  # type: ignore[index]
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
