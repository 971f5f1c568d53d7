"""Compares early stopping and samplers on recorded learning curves: how many epochs until the front is found?

    python -m benchmarks.search_replay

Every rule is shown the same configurations in the same fifty orders, by four workers in simulated time. `epochs` is
what a rule spent until its completed trials reached the hypervolume of 64 full random trials (one level for all: the
median over the orders), divided by what full trials in that order spent until then. `own level` is the same for the
hypervolume of the order's own first 64 (log objectives, reference point MSE 0.07, FID 400). `front kept` is the share
of the table's front that a rule completed when it went through the whole table; `lost` is the share of the table's
hypervolume that it missed. `best eighth` are the configurations of the best non-dominated ranks, an eighth of the
table or a little more: the front has few members, so ramped and constant configurations are compared there too. Rules
with TPE suggest a point of the space and train the nearest configuration not yet seen; they end when both levels are
reached.
"""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import optuna

from benchmarks.replay import TABLE, Hypervolume, Suggest, Table, Trace, load_table, replay
from benchmarks.replay_rules import OURS, OURS_TPE, RULES, TPE, Rule, full
from benchmarks.rows import Row, print_rows
from study.cli import run_command
from study.results.pareto import non_dominated

ORDERS, FULL_TRIALS = 50, 64


@dataclasses.dataclass
class Score:
    """What a rule achieved in each order: epochs relative to full trials, and shares of the table."""

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
    """Runs one search; with TPE it ends when it reaches the target."""
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
        random = replay(table, in_order(order), full(table), ())
        for rule in rules:
            trace, score = run_rule(rule, table, order, seed, max(own, level)), scores[rule.name]
            score.ratio.append(trace.reached(table, level) / random.reached(table, level))
            score.own.append(trace.reached(table, own) / random.reached(table, own))
            if not rule.tpe:
                done = {index for _, index in trace.completed}
                for name, part in parts.items():
                    getattr(score, name).append(len(done & part) / len(part) if part else math.nan)
                score.lost.append(1 - trace.hypervolumes(table)[-1] / random.hypervolumes(table)[-1])
                score.spent.append(trace.spent / random.spent)
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
        front = non_dominated(table.values[left, -1])
        best |= set(left[front].tolist())
        left = left[~front]
    return best


def rows(scores: dict[str, Score], table: Table) -> list[Row]:
    """The rows, with the bars that our rule has to reach."""
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
