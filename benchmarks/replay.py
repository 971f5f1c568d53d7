"""Searches replayed on recorded learning curves, in simulated time, for `benchmarks.search_replay`.

A table holds every configuration's objectives after every epoch, so a search over it costs no training, and two rules
see the same trials in the same order. Every epoch takes every worker the same time.
"""

from __future__ import annotations

import csv
import dataclasses
import heapq
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from study.results.pareto import non_dominated
from study.search.hypervolume import FrontVolume

OBJECTIVES: tuple[str, ...] = ("reconstruction_mse", "sample_fid")
TABLE = Path(__file__).with_name("curves_mnist.csv")
REFERENCE = (0.07, 400.0)
"""The worst MSE and FID that count: the error of an average image, and the FID of bad samples."""
WORKERS = 4

Decide = Callable[[int, int], bool]
"""Configuration and epoch -> whether it goes on past that epoch."""
Suggest = Callable[[], "int | None"]
"""The next configuration to train; None when there is no other."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Recorded learning curves.

    Attributes:
        params: Each configuration's parameters.
        values: MSE and FID, both minimised, [configurations, epochs, 2]; NaN where a training had failed.
        ramped: Which configurations raise their weight during the training, [configurations].
        front: The non-dominated configurations by their last epoch.
    """

    params: list[dict[str, str | float]]
    values: np.ndarray
    ramped: np.ndarray
    front: frozenset[int]

    @property
    def epochs(self) -> int:
        """Epochs of every training."""
        return self.values.shape[1]


def load_table(path: Path) -> Table:
    """Reads what `benchmarks.record_curves` wrote."""
    params: dict[int, dict[str, str | float]] = {}
    curves: dict[int, list[list[float]]] = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            number = int(row["configuration"])
            curves.setdefault(number, []).append([float(row[name]) for name in OBJECTIVES])
            params[number] = {
                "method": row["method"],
                "annealing": row["annealing"],
                **{name: float(row[name]) for name in ("latent_dim", "weight", "learning_rate", "annealing_fraction")},
            }
    epochs = max(map(len, curves.values()))
    whole = sorted(number for number, curve in curves.items() if len(curve) == epochs)
    values = np.array([curves[number] for number in whole])
    ramped = np.array([params[number]["annealing"] != "constant" for number in whole])
    front = frozenset(np.flatnonzero(non_dominated(values[:, -1])).tolist())
    return Table([params[number] for number in whole], values, ramped, front)


class Hypervolume:
    """Volume that a growing set dominates on log objectives, up to `REFERENCE`."""

    def __init__(self) -> None:
        self._volume = FrontVolume(dict.fromkeys(OBJECTIVES, "minimize"), [math.log(bound) for bound in REFERENCE])

    def add(self, values: np.ndarray) -> float:
        """The volume with one more point, [2]; one that is not finite adds nothing."""
        point = dict(zip(OBJECTIVES, values.tolist(), strict=True))
        self._volume.add(point, may_join=bool(np.isfinite(values).all()))
        return self._volume.value or 0.0


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a search did.

    Attributes:
        completed: Epochs that all workers had spent when a configuration completed, and that configuration, in order.
        spent: Epochs spent in total.
    """

    completed: list[tuple[float, int]]
    spent: float

    def hypervolumes(self, table: Table) -> list[float]:
        """After each completion."""
        area = Hypervolume()
        return [area.add(table.values[index, -1]) for _, index in self.completed]

    def reached(self, table: Table, target: float) -> float:
        """Epochs spent until that hypervolume was reached; infinite if it never was."""
        areas = self.hypervolumes(table)
        return next((at for (at, _), area in zip(self.completed, areas, strict=True) if area >= target), math.inf)


def replay(
    table: Table,
    suggest: Suggest,
    decide: Decide,
    rungs: Mapping[int, tuple[int, ...]] | tuple[int, ...],
    ended: Callable[[int, int], None] | None = None,
    enough: Callable[[int], bool] | None = None,
) -> Trace:
    """Runs a search over the table.

    Args:
        table: The curves.
        suggest: Hands out configurations.
        decide: Called at each rung, in the order in which trials get there.
        rungs: Epochs of the rungs, the same for all configurations or by configuration.
        ended: Called with the configuration and its epochs when it completes or is stopped.
        enough: Called after each completion with the configuration: whether to end here.
    """
    workers: list[tuple[float, int, int, int]] = []
    completed: list[tuple[float, int]] = []
    spent, order = 0.0, 0

    def stops(index: int) -> tuple[int, ...]:
        return (*(rungs if isinstance(rungs, tuple) else rungs[index]), table.epochs)

    def begin(now: float) -> None:
        nonlocal order
        index = suggest()
        if index is not None:
            order += 1
            heapq.heappush(workers, (now + stops(index)[0], order, index, 0))

    for _ in range(WORKERS):
        begin(0.0)
    while workers:
        now, _, index, level = heapq.heappop(workers)
        marks = stops(index)
        epoch = marks[level]
        spent = WORKERS * now
        if epoch < table.epochs and decide(index, epoch):
            order += 1
            heapq.heappush(workers, (now + marks[level + 1] - epoch, order, index, level + 1))
            continue
        if ended is not None:
            ended(index, epoch)
        if epoch == table.epochs:
            completed.append((spent, index))
            if enough is not None and enough(index):
                break
        begin(now)
    return Trace(completed, spent)
