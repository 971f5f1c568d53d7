"""Compares early stopping and samplers on recorded learning curves: how many epochs until the front is found?

    python -m benchmarks.search_replay

Every rule is shown the same configurations in the same fifty orders by four workers in simulated time. `epochs` is what
a rule spent until its completed trials reached the hypervolume of 64 full random trials (the median over the orders:
one level for all), divided by what full trials in that order spent until then; `own level` the same for the hypervolume
of the order's own first 64 (log objectives, reference point MSE 0.07, FID 400). `front kept` is the share of the
table's front that a rule completed when it went through the whole table, `lost` the share of the table's hypervolume
that it missed. `best eighth` are the configurations of the best non-dominated ranks, an eighth of the table or a little
more: a front has few members, so ramped and constant ones are compared there too. Rules with TPE suggest a point of the
space and train the nearest configuration not yet seen; they end when both levels are reached.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna

from benchmarks.replay import TABLE, Decide, Hypervolume, Suggest, Table, Trace, front_of, load_table, replay
from benchmarks.rows import Row, print_rows
from study.cli import run_command
from study.search.rungs import Rungs, rung_epochs
from study.search.samplers import build_sampler

ORDERS, FULL_TRIALS = 50, 64
_CATEGORIES: dict[str, list[str | float]] = {
    "method": ["AE", "VAE", "WAE-MMD"],
    "latent_dim": [2.0, 4.0, 8.0, 16.0, 32.0],
    "annealing": ["constant", "linear"],
}
_RANGES = {"weight": (0.01, 1000.0), "learning_rate": (3e-4, 8e-3), "annealing_fraction": (0.1, 0.8)}


@dataclasses.dataclass(frozen=True)
class Rule:
    """A way to search: which trials are judged when and how, and who suggests them."""

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


def _full(table: Table) -> Decide:
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
    """Ours, but nobody is stopped before that share of its own ramp; its results count from the start."""

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
    """The half with the fewest dominating results goes on; nobody is spared for being undominated."""
    seen: dict[int, np.ndarray] = {}

    def decide(index: int, epoch: int) -> bool:
        values = table.values[index, epoch - 1]
        earlier = seen.get(epoch, np.empty((0, 2)))
        seen[epoch] = np.vstack([earlier, values])
        dominators = np.array([np.all(seen[epoch] < row, axis=-1).sum() for row in seen[epoch]])
        return bool((dominators[:-1] < dominators[-1]).sum() < max(1, len(seen[epoch]) // 2))

    return decide


OURS = "ours"
OURS_TPE = "ours, TPE"
RULES = (
    Rule("full trials", _full, _at()),
    Rule(OURS, _halving(), _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("ours, first rung at 1/16", _halving(), _at(1 / 16, 1 / 8, 1 / 4, 1 / 2)),
    Rule("ours, eta 3", _halving(3.0), _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("ours, eta 4", _halving(4.0), _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("ours, rungs after the ramp", _halving_after_ramp, _after_ramp),
    Rule("ours, kinds apart", _kinds_apart, _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("ours, spared for .2 of the ramp", _spared(0.2), _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("ours, spared for .35 of the ramp", _spared(0.35), _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("ours, spared for .5 of the ramp", _spared(0.5), _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("half with fewest dominators", _fewest_dominators, _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("stop what is dominated", _undominated, _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("ASHA on MSE alone", _halving(objectives=(0,)), _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("ASHA on FID alone", _halving(objectives=(1,)), _at(1 / 8, 1 / 4, 1 / 2)),
    Rule("full trials, TPE", _full, _at(), tpe=True),
    Rule(OURS_TPE, _halving(), _at(1 / 8, 1 / 4, 1 / 2), tpe=True),
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
        """Told as the ledger tells it: a stopped trial is infeasible by the missing share of its budget."""
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
    """Where distances between configurations are taken: every parameter spans about 1, the method counts most."""

    def position(name: str) -> float:
        low, high = _RANGES[name]
        return math.log(float(params[name]) / low) / math.log(high / low) if params[name] else 0.0

    method = [2.0 * (params["method"] == name) for name in _CATEGORIES["method"]]
    annealing = 0.5 * (params["annealing"] != "constant") + 0.5 * float(params["annealing_fraction"])
    return np.array(
        [*method, math.log2(float(params["latent_dim"])) / 4, position("weight"), position("learning_rate"), annealing]
    )


@dataclasses.dataclass
class Score:
    """What a rule achieved in each order: epochs against full trials', and shares of the table."""

    ratio: list[float] = dataclasses.field(default_factory=list)
    own: list[float] = dataclasses.field(default_factory=list)
    kept: list[float] = dataclasses.field(default_factory=list)
    lost: list[float] = dataclasses.field(default_factory=list)
    low_mse: list[float] = dataclasses.field(default_factory=list)
    low_fid: list[float] = dataclasses.field(default_factory=list)
    ramped: list[float] = dataclasses.field(default_factory=list)
    constant: list[float] = dataclasses.field(default_factory=list)
    best_ramped: list[float] = dataclasses.field(default_factory=list)
    best_constant: list[float] = dataclasses.field(default_factory=list)
    spent: list[float] = dataclasses.field(default_factory=list)


def in_order(order: np.ndarray) -> Suggest:
    """Hands out configurations in a fixed order."""
    rest = iter(order.tolist())
    return lambda: next(rest, None)


def run_rule(rule: Rule, table: Table, order: np.ndarray, seed: int, target: float) -> Trace:
    """One search; TPE's ends when it reaches the target."""
    if not rule.tpe:
        return replay(table, in_order(order), rule.decide(table), rule.rungs(table))
    sampler, area = TPE(table, seed), Hypervolume()

    def enough(index: int) -> bool:
        return area.add(table.values[index, -1]) >= target

    return replay(table, sampler.suggest, rule.decide(table), rule.rungs(table), sampler.ended, enough)


def score_rules(table: Table, rules: tuple[Rule, ...] = RULES, orders: int = ORDERS) -> dict[str, Score]:
    """Runs every rule in every order."""
    scores = {rule.name: Score() for rule in rules}
    best = _best(table, len(table.params) // 8)
    by_mse = sorted(table.front, key=lambda index: table.values[index, -1, 0])
    parts = {
        "kept": table.front,
        "low_mse": set(by_mse[: len(by_mse) // 2]),
        "low_fid": set(by_mse[(len(by_mse) + 1) // 2 :]),
        "ramped": {index for index in table.front if table.ramped[index]},
        "constant": {index for index in table.front if not table.ramped[index]},
        "best_ramped": {index for index in best if table.ramped[index]},
        "best_constant": {index for index in best if not table.ramped[index]},
    }
    permutations = [np.random.RandomState(seed).permutation(len(table.params)) for seed in range(orders)]
    levels = [_level(table, order[:FULL_TRIALS]) for order in permutations]
    level = float(np.median(levels))
    for seed, (order, own) in enumerate(zip(permutations, levels, strict=True)):
        full = replay(table, in_order(order), _full(table), ())
        for rule in rules:
            trace, score = run_rule(rule, table, order, seed, max(own, level)), scores[rule.name]
            score.ratio.append(trace.reached(table, level) / full.reached(table, level))
            score.own.append(trace.reached(table, own) / full.reached(table, own))
            if not rule.tpe:
                done = {index for _, index in trace.completed}
                for name, part in parts.items():
                    getattr(score, name).append(len(done & part) / len(part) if part else math.nan)
                score.lost.append(1 - trace.hypervolumes(table)[-1] / full.hypervolumes(table)[-1])
                score.spent.append(trace.spent / full.spent)
    return scores


def _level(table: Table, configurations: np.ndarray) -> float:
    """Hypervolume of configurations trained in full, less what rounding may take."""
    area = Hypervolume()
    return [area.add(table.values[index, -1]) for index in configurations][-1] * (1 - 1e-9)


def _best(table: Table, at_least: int) -> set[int]:
    """Configurations of the best non-dominated ranks by their last epoch, whole ranks until there are enough."""
    best: set[int] = set()
    left = np.arange(len(table.params))
    while len(best) < at_least:
        front = front_of(table.values[left, -1])
        best |= {int(left[row]) for row in front}
        left = np.delete(left, list(front))
    return best


def rows(scores: dict[str, Score], table: Table) -> list[Row]:
    """The figures, with the bars that ours has to reach."""
    result = [
        Row("configurations in the table", len(table.params), 240),
        Row("of them on its front", len(table.front)),
        Row("of these ramped", sum(bool(table.ramped[index]) for index in table.front)),
    ]
    bars = {OURS: 0.45, OURS_TPE: 1 / 3}
    for name, score in scores.items():
        low, middle, high = np.percentile(score.ratio, [25, 50, 75], method="nearest")
        result += [
            Row(f"{name}: epochs, median", middle, bars.get(name), at_most=True),
            Row(f"{name}: epochs, lower quartile", low),
            Row(f"{name}: epochs, upper quartile", high),
            Row(
                f"{name}: epochs to own level, median",
                float(np.percentile(score.own, 50, method="nearest")),
                bars.get(name),
                at_most=True,
            ),
        ]
        if score.kept:
            ours = name == OURS
            gap = float(np.mean(score.constant) - np.mean(score.ramped))
            result += [
                Row(f"{name}: front kept, mean", float(np.mean(score.kept)), 0.95 if ours else None),
                Row(f"{name}: low-MSE half kept, mean", float(np.mean(score.low_mse))),
                Row(f"{name}: low-FID half kept, mean", float(np.mean(score.low_fid))),
                Row(f"{name}: lost, median", float(np.median(score.lost)), 0.01 if ours else None, at_most=True),
                Row(f"{name}: lost, worst", float(np.max(score.lost))),
                Row(f"{name}: front, ramped less kept by", gap),
                Row(f"{name}: front, ramped and constant apart by", abs(gap), 0.05 if ours else None, at_most=True),
                Row(f"{name}: best eighth kept, ramped", float(np.mean(score.best_ramped))),
                Row(f"{name}: best eighth kept, constant", float(np.mean(score.best_constant))),
                Row(f"{name}: epochs spent on the table", float(np.mean(score.spent))),
            ]
    return result


def main() -> int:
    """Prints the rows."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    table = load_table(TABLE)
    return print_rows(rows(score_rules(table), table))


if __name__ == "__main__":
    run_command(main)
