"""Searches replayed on recorded learning curves, in simulated time: what `benchmarks.search_replay` compares with.

A table holds every configuration's objectives after every epoch, so a search over it costs no training, and two rules
can be shown the very same trials in the very same order. Workers take an equal time for every epoch.
"""

from __future__ import annotations

import csv
import dataclasses
import heapq
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

TABLE = Path(__file__).with_name("curves_mnist.csv")
REFERENCE = (0.07, 400.0)
"""Worst MSE and FID that count, the error of an average image and the FID of bad samples; then logarithms are taken."""
WORKERS = 4

Decide = Callable[[int, int], bool]
"""Configuration and epoch to whether it goes on past that epoch."""
Suggest = Callable[[], "int | None"]
"""The next configuration to train, or None when all have been."""


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
    curves: dict[int, list[tuple[float, float]]] = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            number = int(row["configuration"])
            curves.setdefault(number, []).append((float(row["reconstruction_mse"]), float(row["sample_fid"])))
            params[number] = {
                "method": row["method"],
                "annealing": row["annealing"],
                **{name: float(row[name]) for name in ("latent_dim", "weight", "learning_rate", "annealing_fraction")},
            }
    epochs = max(map(len, curves.values()))
    whole = sorted(number for number, curve in curves.items() if len(curve) == epochs)
    values = np.array([curves[number] for number in whole])
    ramped = np.array([params[number]["annealing"] != "constant" for number in whole])
    return Table([params[number] for number in whole], values, ramped, front_of(values[:, -1]))


def front_of(values: np.ndarray) -> frozenset[int]:
    """Rows of [n, 2] that no other row dominates; NaN is never one."""
    with np.errstate(invalid="ignore"):
        beaten = np.all(values[:, None] >= values, axis=-1) & np.any(values[:, None] > values, axis=-1)
    return frozenset(np.flatnonzero(~beaten.any(axis=-1) & np.isfinite(values).all(axis=-1)).tolist())


class Hypervolume:
    """Area that a growing set dominates on log objectives, up to `REFERENCE`."""

    def __init__(self) -> None:
        self._front: list[tuple[float, float]] = []
        self.value = 0.0

    def add(self, values: np.ndarray) -> float:
        """The area with one more point, [2]."""
        x, y = (math.log(bound) - math.log(value) for bound, value in zip(REFERENCE, values.tolist(), strict=True))
        # x and y are gains now, high is good; NaN compares false and adds nothing.
        if x > 0 and y > 0 and not any(a >= x and b >= y for a, b in self._front):
            self._front = sorted([*((a, b) for a, b in self._front if a > x or b > y), (x, y)])
            left = [0.0, *(a for a, _ in self._front)]
            self.value = sum((a - before) * b for before, (a, b) in zip(left, self._front, strict=False))
        return self.value


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a search did.

    Attributes:
        completed: Epochs spent by all workers together, and the configuration that completed then, in order.
        spent: Epochs spent in all.
    """

    completed: list[tuple[float, int]]
    spent: float

    def hypervolumes(self, table: Table) -> list[float]:
        """After each completion."""
        area = Hypervolume()
        return [area.add(table.values[index, -1]) for _, index in self.completed]

    def reached(self, table: Table, target: float) -> float:
        """Epochs spent until that hypervolume; infinite when it never came."""
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
        decide: Asked at each rung, in the order in which trials get there.
        rungs: Epochs at which trials are judged, the same for all, or by configuration.
        ended: Told the configuration and its epochs when it completed or was stopped.
        enough: Asked after each completion whether to end here.
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
