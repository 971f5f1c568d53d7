"""The rules that `benchmarks.search_replay` compares: where the rungs are, which trials go on, what suggests trials."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna

from benchmarks.replay import Decide, Table
from study.search.rungs import Rungs, rung_epochs
from study.search.samplers import build_sampler

_CATEGORIES: dict[str, list[str | float]] = {
    "method": ["AE", "VAE", "WAE-MMD"],
    "latent_dim": [2.0, 4.0, 8.0, 16.0, 32.0],
    "annealing": ["constant", "linear"],
}
_RANGES = {"weight": (0.01, 1000.0), "learning_rate": (3e-4, 8e-3), "annealing_fraction": (0.1, 0.8)}


@dataclasses.dataclass(frozen=True)
class Rule:
    """A way to search.

    Attributes:
        name: For the rows.
        decide: Makes the decision at the rungs.
        rungs: Epochs of the rungs, the same for all configurations or by configuration.
        tpe: TPE suggests the trials; otherwise they come in a fixed order.
    """

    name: str
    decide: Callable[[Table], Decide]
    rungs: Callable[[Table], tuple[int, ...] | dict[int, tuple[int, ...]]]
    tpe: bool = False


def _at(*shares: float) -> Callable[[Table], tuple[int, ...]]:
    return lambda table: rung_epochs(table.epochs, shares)


def _after_ramp(table: Table) -> dict[int, tuple[int, ...]]:
    """Rungs at the same shares of what is left after the ramp."""
    rungs = {}
    for index, params in enumerate(table.params):
        start = math.ceil(float(params["annealing_fraction"]) * table.epochs) if table.ramped[index] else 0
        rungs[index] = tuple(start + epoch for epoch in rung_epochs(table.epochs - start))
    return rungs


def full(table: Table) -> Decide:
    """Trains every trial to its end."""
    return lambda index, epoch: True


def _halving(eta: float = 2.0, objectives: tuple[int, ...] = (0, 1)) -> Callable[[Table], Decide]:
    def decide(table: Table) -> Decide:
        rungs = Rungs(["minimize"] * len(objectives), eta)
        return lambda index, epoch: rungs.decide(epoch, table.values[index, epoch - 1, list(objectives)].tolist())

    return decide


def _halving_after_ramp(table: Table) -> Decide:
    rungs, marks = Rungs(["minimize"] * 2), _after_ramp(table)
    return lambda index, epoch: rungs.decide(marks[index].index(epoch), table.values[index, epoch - 1].tolist())


def _kinds_apart(table: Table) -> Decide:
    """Ramped trials are compared with ramped ones, constant ones with constant ones."""
    rungs = {ramped: Rungs(["minimize"] * 2) for ramped in (False, True)}
    return lambda index, epoch: rungs[bool(table.ramped[index])].decide(epoch, table.values[index, epoch - 1].tolist())


def _spared(share: float) -> Callable[[Table], Decide]:
    """Ours, but no trial is stopped before that share of its own ramp; its results count from the start."""

    def decide(table: Table) -> Decide:
        rungs = Rungs(["minimize"] * 2)

        def goes_on(index: int, epoch: int) -> bool:
            good = rungs.decide(epoch, table.values[index, epoch - 1].tolist())
            return good or epoch < share * float(table.params[index]["annealing_fraction"]) * table.epochs

        return goes_on

    return decide


def _undominated(table: Table) -> Decide:
    """Stops whatever an earlier result at the rung dominates."""
    rungs = Rungs(["minimize"] * 2, math.inf)
    return lambda index, epoch: rungs.decide(epoch, table.values[index, epoch - 1].tolist())


def _fewest_dominators(table: Table) -> Decide:
    """The half with the fewest dominating results goes on; undominated trials are not spared."""
    seen: dict[int, np.ndarray] = {}

    def decide(index: int, epoch: int) -> bool:
        values = table.values[index, epoch - 1]
        earlier = seen.get(epoch, np.empty((0, 2)))
        seen[epoch] = np.vstack([earlier, values])
        dominators = np.array([np.all(seen[epoch] < row, axis=-1).sum() for row in seen[epoch]])
        return bool((dominators[:-1] < dominators[-1]).sum() < max(1, len(seen[epoch]) // 2))

    return decide


_EIGHTH = _at(1 / 8, 1 / 4, 1 / 2)
OURS = "ours"
OURS_TPE = "ours, TPE"
RULES = (
    Rule("full trials", full, _at()),
    Rule(OURS, _halving(), _EIGHTH),
    Rule("ours, first rung at 1/16", _halving(), _at(1 / 16, 1 / 8, 1 / 4, 1 / 2)),
    Rule("ours, eta 3", _halving(3.0), _EIGHTH),
    Rule("ours, eta 4", _halving(4.0), _EIGHTH),
    Rule("ours, rungs after the ramp", _halving_after_ramp, _after_ramp),
    Rule("ours, kinds apart", _kinds_apart, _EIGHTH),
    Rule("ours, spared for .2 of the ramp", _spared(0.2), _EIGHTH),
    Rule("ours, spared for .35 of the ramp", _spared(0.35), _EIGHTH),
    Rule("ours, spared for .5 of the ramp", _spared(0.5), _EIGHTH),
    Rule("half with fewest dominators", _fewest_dominators, _EIGHTH),
    Rule("stop what is dominated", _undominated, _EIGHTH),
    Rule("ASHA on MSE alone", _halving(objectives=(0,)), _EIGHTH),
    Rule("ASHA on FID alone", _halving(objectives=(1,)), _EIGHTH),
    Rule("full trials, TPE", full, _at(), tpe=True),
    Rule(OURS_TPE, _halving(), _EIGHTH, tpe=True),
)


class TPE:
    """Optuna's TPE as the project sets it up; a suggestion is moved to the nearest configuration not yet seen."""

    def __init__(self, table: Table, seed: int) -> None:
        self._table = table
        self._study = optuna.create_study(directions=["minimize", "minimize"], sampler=build_sampler("tpe", seed, 0))
        self._points = np.array([_coordinates(params) for params in table.params])
        self._unseen = np.ones(len(table.params), dtype=bool)
        self._running: dict[int, optuna.Trial] = {}

    def suggest(self) -> int | None:
        """The configuration nearest to a suggestion."""
        if not self._unseen.any():
            return None
        wish = self._study.ask()
        distances = np.abs(self._points - _coordinates(_sample(wish))).sum(axis=1)
        self._study.tell(wish, state=optuna.trial.TrialState.FAIL)
        index = int(np.where(self._unseen, distances, math.inf).argmin())
        self._unseen[index] = False
        self._study.enqueue_trial(self._table.params[index])
        self._running[index] = self._study.ask()
        _sample(self._running[index])  # now the trial holds the configuration's own parameters
        return index

    def ended(self, index: int, epoch: int) -> None:
        """Tells Optuna as the ledger does: a stopped trial is infeasible by the missing share of its budget."""
        trial, values = self._running.pop(index), self._table.values[index, epoch - 1]
        if not np.isfinite(values).all():
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        if epoch < self._table.epochs:
            trial.set_constraint("budget", 1 - epoch / self._table.epochs)
        self._study.tell(trial, values.tolist())


def _sample(trial: optuna.Trial) -> dict[str, Any]:
    """What a search space of these configurations asks for."""
    params: dict[str, Any] = {
        name: trial.suggest_categorical(name, _CATEGORIES[name]) for name in ("method", "latent_dim")
    }
    params["learning_rate"] = trial.suggest_float("learning_rate", *_RANGES["learning_rate"], log=True)
    params |= {"weight": 0.0, "annealing": "constant", "annealing_fraction": 0.0}
    if params["method"] != "AE":
        params["weight"] = trial.suggest_float("weight", *_RANGES["weight"], log=True)
        params["annealing"] = trial.suggest_categorical("annealing", _CATEGORIES["annealing"])
        if params["annealing"] == "linear":
            fraction = trial.suggest_float("annealing_fraction", *_RANGES["annealing_fraction"])
            params["annealing_fraction"] = fraction
    return params


def _coordinates(params: dict[str, str | float]) -> np.ndarray:
    """Coordinates for distances between configurations: every parameter spans about 1, the method counts most."""

    def position(name: str) -> float:
        low, high = _RANGES[name]
        return math.log(float(params[name]) / low) / math.log(high / low) if params[name] else 0.0

    method = [2.0 * (params["method"] == name) for name in _CATEGORIES["method"]]
    annealing = 0.5 * (params["annealing"] != "constant") + 0.5 * float(params["annealing_fraction"])
    return np.array(
        [*method, math.log2(float(params["latent_dim"])) / 4, position("weight"), position("learning_rate"), annealing]
    )
