"""Measures what a trial costs searcher, scheduler and ledger as a study grows: trials end at once, none trains.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --most 1000

For 100, 1,000 and 10,000 trials, four at a time: a suggestion, a report at every rung and at the end, the decision
and the record. The figure is the mean processor time of a trial in the last tenth of the study (waiting for the disk
does not grow with the study, and neighbours' work is none of ours), against the same at 100 trials; and by how much the
process's memory grew over the last nine tenths, a trial: Optuna keeps every trial in memory, so it cannot be nothing,
but it is the same for each. Every case has a process of its own. TPE is reported as it is, up to 1,000 trials: its own
cost grows. Linux alone says what is asked for here.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.options import MostOption
from benchmarks.rows import Row, print_rows
from benchmarks.trainer import made_data
from study.cli import run_command
from study.config import DataSummary
from study.search.ledger import Ledger
from study.search.rungs import DEFAULT_ETA
from study.space import SearchSpace
from study.training.loop import evaluation_epochs
from study.tuning.scheduler import RungScheduler
from study.tuning.searcher import LedgerSearcher

SIZES = (100, 1_000, 10_000)
EPOCHS, WORKERS = 16, 4
KILOBYTES = 12.0
"""What a trial may keep in memory: Optuna's record of it, with our attributes, and its results at the rungs."""
DIRECTIONS = {"val/reconstruction_mse": "minimize", "val/sample_fid": "minimize"}


class Cost(NamedTuple):
    """What a trial costs: processor seconds in the last tenth of a study, kilobytes kept from its first tenth on."""

    seconds: float
    kilobytes: float


def _suggest(trial: Any, data: DataSummary) -> Mapping[str, Any]:
    return {
        "weight": trial.suggest_float("weight", 0.01, 100.0, log=True),
        "latent_dim": trial.suggest_int("latent_dim", 2, 32),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
    }


def space(trials: int, grid: bool) -> SearchSpace:
    """A space of three parameters, or a grid of so many points."""
    points = [
        {"weight": 10 ** (4 * n / trials - 2), "latent_dim": 2 + n % 31, "learning_rate": 1e-3} for n in range(trials)
    ]
    return SearchSpace(question="?", suggest=_suggest, first_points=lambda data: points if grid else (), grid=grid)


def measure(directory: Path, trials: int, sampler: str, grid: bool) -> Cost:
    """Runs a study of trials that take no time."""
    ledger = Ledger(
        directory,
        space(trials, grid),
        made_data(16).summary,
        directions=DIRECTIONS,
        set_values={"seed": 0, "epochs": EPOCHS},
        seed=0,
        sampler=sampler,
    )
    searcher = LedgerSearcher(ledger, trials)
    scheduler = RungScheduler(ledger, searcher, None if grid else DEFAULT_ETA)
    random = np.random.RandomState(0)
    running: list[tuple[str, int, np.ndarray]] = []
    no_controller: Any = None  # the scheduler does not use it
    marks = sorted(evaluation_epochs(EPOCHS))
    started, ended, times = 0, 0, [time.process_time()]
    memory, tenth = 0.0, math.ceil(trials / 10)
    while ended < trials:
        while len(running) < WORKERS and started < trials:
            searcher.suggest(str(started))
            running.append((str(started), 0, np.exp(random.normal(size=2))))
            started += 1
        trial_id, level, scale = running.pop(0)
        epoch = marks[level]
        values = scale * (1 + EPOCHS / epoch) * np.exp(0.1 * random.normal(size=2))
        result = {"epoch": epoch, "multiplier": 1.0, **dict(zip(DIRECTIONS, values.tolist(), strict=True))}
        trial: Any = SimpleNamespace(trial_id=trial_id)  # all that the scheduler reads of a Ray trial
        decision = scheduler.on_trial_result(no_controller, trial, result)
        if decision == "STOP" or epoch == EPOCHS:
            searcher.on_trial_complete(trial_id, result)
            ended += 1
            times.append(time.process_time())
            if ended == tenth:
                memory = _kilobytes()
        else:
            running.append((trial_id, level + 1, scale))
    tail = max(10, trials // 10)
    return Cost((times[-1] - times[-1 - tail]) / tail, (_kilobytes() - memory) / (trials - tenth))


def _kilobytes() -> float:
    """The memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def _alone(trials: int, sampler: str, grid: bool) -> Cost:
    """Measures in a fresh process: what an earlier case has freed would hide what a later one takes."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(measure, Path(folder), trials, sampler, grid).result()


def main(most: MostOption = SIZES[-1]) -> int:
    """Prints a row per case and size."""
    status = 0
    for name, sampler, grid, limit in (
        ("random", "random", False, SIZES[-1]),
        ("grid", "random", True, SIZES[-1]),
        ("tpe", "tpe", False, 1_000),
    ):
        first = None
        for trials in (size for size in SIZES if size <= min(limit, most)):
            cost = _alone(trials, sampler, grid)
            first = first or cost
            largest = trials == SIZES[-1]
            status |= print_rows(
                [
                    Row(f"{name}, {trials} trials: ms a trial", 1000 * cost.seconds),
                    Row(
                        f"{name}, {trials} trials: against {SIZES[0]}",
                        cost.seconds / first.seconds,
                        2.0 if largest else None,
                        at_most=True,
                    ),
                    Row(
                        f"{name}, {trials} trials: kB kept a trial",
                        cost.kilobytes,
                        KILOBYTES if largest else None,
                        at_most=True,
                    ),
                ]
            )
    return status


if __name__ == "__main__":
    run_command(main)
