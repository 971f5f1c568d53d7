"""Measures what a trial costs a cluster's driver as the study grows: real Ray, eight workers, trials that end at once.

    python -m benchmarks.cluster_growth
    python -m benchmarks.cluster_growth --most 300

A trial reports at each of its evaluation epochs and does nothing else, so what is measured is the driver: its processor
time per trial around the 100th, the 300th and the 1,000th (neighbours' work is none of ours), the growth between them,
and by a second study with many reports what a report costs. From these follows what 100 workers can be fed with: they
end 100 / T trials a second when one takes T seconds, and a driver of one thread keeps up while that many trials cost
less than a second. Of what would break first, the rows name the driver's share per trial and per report; MLflow is
written by another thread at its own pace (benchmarks.tracking), and TPE's own cost is in benchmarks.scaling.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import ray
from ray import tune

from benchmarks.options import MostOption
from benchmarks.rows import Row, print_rows
from benchmarks.scaling import DIRECTIONS, space
from benchmarks.trainer import made_data
from study.cli import run_command
from study.search.ledger import Ledger
from study.search.rungs import DEFAULT_ETA
from study.training.loop import evaluation_epochs
from study.tuning import execute
from study.tuning.cluster import Resources
from study.tuning.scheduler import RungScheduler
from study.tuning.searcher import LedgerSearcher

SIZES = (100, 300, 1_000)
EPOCHS, WORKERS = 16, 8
MANY_REPORTS = 50
PREDICTED_WORKERS = 100
WINDOW = 50
"""Trials over which a cost is averaged, the last of them the one it is given for: the first 50 also start processes."""


class Mark(NamedTuple):
    """Where the driver was when so many trials had ended."""

    trials: int
    processor: float
    wall: float


def _instant(config: dict[str, Any], *, epochs: list[int], **unused: Any) -> None:
    for epoch in epochs:
        values = {f"val/{name}": 1.0 + 1 / epoch for name in ("reconstruction_mse", "sample_fid")}
        tune.report({"epoch": epoch, "multiplier": 1.0, **values})


def run(directory: Path, trials: int, epochs: list[int], eta: float | None) -> list[Mark]:
    """Runs a study; gives the driver's marks, trial by trial."""
    ledger = Ledger(
        directory,
        space(trials, grid=False),
        made_data(16).summary,
        directions=DIRECTIONS,
        set_values={"seed": 0, "epochs": epochs[-1]},
        seed=0,
        sampler="random",
    )
    searcher = LedgerSearcher(ledger, trials)
    marks = [Mark(0, time.process_time(), time.perf_counter())]

    def refresh() -> None:
        if ledger.tally.done > marks[-1].trials:
            marks.append(Mark(ledger.tally.done, time.process_time(), time.perf_counter()))

    def instant(config: dict[str, Any], **shared: Any) -> None:
        _instant(config, epochs=epochs)

    with mock.patch.object(execute, "run_trial", instant):
        execute.execute(
            searcher,
            RungScheduler(ledger, searcher, eta),
            made_data(16),
            None,  # type: ignore[arg-type]  # nothing is evaluated
            directory,
            resources=Resources(),
            max_failures=0,
            refresh=refresh,
            say=print,
        )
    return marks


def window(marks: list[Mark], end: int) -> tuple[float, float]:
    """Processor and wall seconds a trial in the window that ends with a trial."""
    last = next(mark for mark in marks if mark.trials >= end)
    first = next(mark for mark in marks if mark.trials >= end - WINDOW)
    count = last.trials - first.trials
    return (last.processor - first.processor) / count, (last.wall - first.wall) / count


def main(most: MostOption = SIZES[-1]) -> int:
    """Runs both studies and prints what they cost."""
    sizes = [size for size in SIZES if size <= most]
    few = sorted(evaluation_epochs(EPOCHS))
    many = list(range(1, MANY_REPORTS + 1))
    with contextlib.ExitStack() as stack:
        ray.init("local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        stack.callback(ray.shutdown)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("few", "many"):
            (folder / name).mkdir()
        marks = run(folder / "few", sizes[-1], few, DEFAULT_ETA)
        costs = {size: window(marks, size) for size in sizes}
        reporting, _ = window(run(folder / "many", SIZES[0], many, None), SIZES[0])
    first, last = costs[sizes[0]][0], costs[sizes[-1]][0]
    report = max(0.0, (reporting - last) / (len(many) - len(few)))  # with `first`, Ray still starts processes
    rows = [Row(f"driver, ms a trial, at trial {size}", 1000 * cost[0]) for size, cost in costs.items()]
    rows += [Row(f"wall, ms a trial, at trial {size}", 1000 * cost[1]) for size, cost in costs.items()]
    rows += [
        Row(f"cost at trial {sizes[-1]} against {sizes[0]}", last / first, 1.5, at_most=True),
        Row("growth, microseconds a trial per trial", 1e6 * (last - first) / max(1, sizes[-1] - sizes[0])),
        Row("driver, ms a report", 1000 * report),
        Row("reports a second, at most", 1 / report if report else float("inf")),
        Row(f"{PREDICTED_WORKERS} workers: shortest trial fed, s", PREDICTED_WORKERS * last, 60, at_most=True),
    ]
    return print_rows(rows)


if __name__ == "__main__":
    run_command(main)
