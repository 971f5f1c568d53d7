"""Measures what it costs to mirror a finished study into a fresh SQLite store of MLflow.

python -m benchmarks.tracking
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.rows import Row, print_rows, seconds
from study.cli import run_command
from study.config import DataSummary, TrialConfig
from study.disk.files import write_json
from study.disk.timestamp import now
from study.tracking import Mirror, sync_study
from study.tracking.store import connect, sqlite_uri

_EPOCHS = 60
_METRICS = 12
_ONE_BY_ONE = 200


def write_study(directory: Path, trials: int, epochs: int = _EPOCHS, metrics: int = _METRICS) -> None:
    """Makes up a finished study of `trials` trials, each with `epochs` epochs of `metrics` metrics."""
    identity = {"format": 1, "id": uuid.uuid4().hex, "name": directory.name, "created": now(), "outcome": "completed"}
    space = {"space": "made_up", "space_hash": "", "question": "", "objectives": {"val/metric_0": "minimize"}}
    data = DataSummary(
        name="made_up", channels=1, height=1, width=1, train_size=1, validation_size=1, test_size=1, num_classes=1,
        total_variance=1.0, hash="", defaults={},
    )  # fmt: skip
    search = {"data": dataclasses.asdict(data), "seed": 0, "sampler": "", "num_trials": trials}
    directory.mkdir()
    write_json(directory / "study.json", {**identity, **space, **search})
    for number in range(trials):
        attempt = directory / "trials" / f"{number:04d}" / "attempt-1"
        attempt.mkdir(parents=True)
        values = {f"val/metric_{index}": 1 / (index + number + 1) for index in range(metrics - 2)}
        rows = [{"epoch": epoch, "time": time.time(), "seconds": 0.1, **values} for epoch in range(1, epochs + 1)]
        (attempt / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        trial = {"number": number, "origin": "search", "params": TrialConfig(seed=number).to_params(), "created": now()}
        write_json(attempt.parent / "trial.json", trial)
        write_json(attempt.parent / "outcome.json", {"outcome": "completed", "epochs": epochs, "ended": now()})


def measure(trials: int) -> list[Row]:
    """Mirrors a study, mirrors it again, and for comparison logs a few values one by one."""
    with tempfile.TemporaryDirectory() as scratch:
        study = Path(scratch) / "study"
        write_study(study, trials)
        uri = sqlite_uri(Path(scratch) / "mlflow.db")
        opening = seconds(lambda: connect(uri))
        writing = seconds(lambda: sync_study(study, uri))
        again = seconds(lambda: sync_study(study, uri))
        mirror = Mirror(study, uri)
        report = mirror.sync()
        idle = seconds(mirror.sync)
        mirror.release()
        client = connect(uri)

        def one_by_one() -> None:
            for step in range(_ONE_BY_ONE):
                client.log_metric(report.run_id, "one_by_one", float(step), step=step)

        single = 1000 * seconds(one_by_one) / _ONE_BY_ONE
    batched = 1000 * writing / (trials * _EPOCHS * _METRICS)
    return [
        Row("import and fresh store, s", opening),
        Row(f"mirror {trials} trials x {_EPOCHS} epochs x {_METRICS} metrics, s", writing),
        Row("mirrored, ms a value", batched, 0.35, at_most=True),
        Row("logged one by one, ms a value", single),
        Row("one by one over mirrored", single / batched, 10),
        Row("complete study mirrored again, s", again, 1.0, at_most=True),
        Row("pass with nothing new, ms", 1000 * idle, 20, at_most=True),
    ]


def main(
    trials: Annotated[int, typer.Option(min=1, help="Trials of the study.")] = 100,
) -> int:
    """Prints the rows."""
    return print_rows(measure(trials))


if __name__ == "__main__":
    run_command(main)
