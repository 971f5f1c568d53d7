"""Does the recommended trial hold? Resamples studies from recorded trials and looks at what each would recommend.

    python -m benchmarks.recommendation

400 studies of 24 trials are drawn from 180 digits trials (`benchmarks.record_trials` trains them the first time, about
ten minutes) and from the 288 MNIST trials of `benchmarks.record_curves`. In each the recommendation is that of
`study.results.choice`. `beyond twice the best` counts the studies whose recommended trial has a score of samples that
is more than twice the study's best; `changes` those in which another seed of the feature network recommends another
trial (MNIST's trials have one score, so others are that with the noise measured there, 3 %). A study whose front has
no clear knee says so, and the bars are for the others. `expected` is what the studies themselves say of the change.

`left out` are the trials that no pick is taken from: RAE-L2 with eight or more latent dimensions, whose samples from
N(0, I) are visibly broken; 50 images repeated, put into each study with the best reconstruction of it; and good trials,
whose score is at most 1.5 times the study's best.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks import record_trials
from benchmarks.options import CacheOption
from benchmarks.record_curves import EPOCHS
from benchmarks.replay import OBJECTIVES
from benchmarks.replay import TABLE as MNIST_TABLE
from benchmarks.rows import Row, print_rows
from study.cli import run_command
from study.data.datasets import load_dataset
from study.results.choice import Choice, chosen_from
from study.results.recommendation import SCORE_NOISE

STUDIES, SIZE, LEAST_TRIALS = 400, 24, 150
GOOD = 1.5
BROKEN_FROM = 8
CURVES_SEEDS, CURVES_NOISE = 4, 0.03
"""Measured between seeds on MNIST, as a standard deviation of the log score."""
MOST_BEYOND, MOST_CHANGED = 0.05, 0.08


class Trials(NamedTuple):
    """Recorded trials, n of them, scored by s seeds of a feature network.

    Attributes:
        method: Names, [n].
        latent_dim: [n].
        reconstruction: [n].
        score: Of the samples; low is good, [n, s].
        precision: [n, s]; NaN if it was not recorded.
        coverage: The same.
    """

    method: np.ndarray
    latent_dim: np.ndarray
    reconstruction: np.ndarray
    score: np.ndarray
    precision: np.ndarray
    coverage: np.ndarray

    def take(self, rows: np.ndarray) -> Trials:
        """Some of them."""
        return Trials(*(column[rows] for column in self))

    def choice(self, seed: int) -> Choice:
        """What a study of these trials recommends under one seed of the feature network."""
        values = np.stack([self.reconstruction, self.score[:, seed]], axis=1)
        diversity = {"val/precision": self.precision[:, seed], "val/coverage": self.coverage[:, seed]}
        return chosen_from(values, np.ones(len(values), dtype=bool), diversity)


def read_trials(table: Path) -> Trials:
    """Reads a table of `benchmarks.record_trials`; trials that failed are left out, and the copies are the last."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if np.isfinite(float(row["score_0"]))]
    scored = {
        name: np.array([[float(row[f"{name}_{seed}"]) for seed in range(record_trials.SEEDS)] for row in rows])
        for name in ("score", "precision", "coverage")
    }
    return Trials(
        np.array([row["method"] for row in rows]),
        np.array([float(row["latent_dim"]) for row in rows]),
        np.array([float(row["reconstruction"]) for row in rows]),
        **scored,
    )


def read_curves(table: Path) -> Trials:
    """The last epochs of `benchmarks.record_curves`, with scores of more networks that are the first with noise."""
    with open(table, newline="", encoding="utf-8") as file:
        rows: list[Mapping[str, str]] = [row for row in csv.DictReader(file) if int(row["epoch"]) == EPOCHS]
    values = np.array([[float(row[name]) for name in OBJECTIVES] for row in rows])
    kept = np.flatnonzero(np.isfinite(values).all(axis=1))
    score = values[kept, 1]
    draws = np.random.default_rng(1).standard_normal((len(score), CURVES_SEEDS))
    again = score[:, None] * np.exp(np.sqrt(2) * CURVES_NOISE * draws)  # both networks have that noise
    unknown = np.full((len(kept), 1 + CURVES_SEEDS), np.nan)
    method = np.array([rows[row]["method"] for row in kept])
    size = np.array([float(rows[row]["latent_dim"]) for row in kept])
    return Trials(method, size, values[kept, 0], np.column_stack([score, again]), unknown, unknown)


class Outcome(NamedTuple):
    """What one resampled study recommends.

    Attributes:
        clear: Whether it has a clear knee, or one trial that is the best in everything.
        factor: Score of the recommended trial over the best of the study.
        changed: Share of the other seeds under which another trial is recommended.
        expected: That share as the study itself states it.
    """

    clear: bool
    factor: float
    changed: float
    expected: float


def outcome(trials: Trials) -> Outcome:
    """What a study of these trials recommends under the first seed, and whether other seeds agree."""
    choice = trials.choice(0)
    assert choice.recommended is not None
    seeds = range(1, trials.score.shape[1])
    return Outcome(
        choice.role != "compromise",
        float(trials.score[choice.recommended, 0] / trials.score[choice.eligible, 0].min()),
        float(np.mean([trials.choice(seed).recommended != choice.recommended for seed in seeds])),
        choice.share_changed(np.array([0.0, SCORE_NOISE])),
    )


def studies(count: int, trials: int) -> list[np.ndarray]:
    """Rows of each resampled study: `SIZE` of the trials, without replacement."""
    draw = np.random.RandomState(0)
    return [draw.permutation(trials)[:SIZE] for _ in range(count)]


def recommendation_rows(name: str, trials: Trials, count: int = STUDIES) -> list[Row]:
    """How the recommended trials of resampled studies hold."""
    found = [outcome(trials.take(rows)) for rows in studies(count, len(trials.method))]
    clear = np.array([one.clear for one in found])
    factor = np.array([one.factor for one in found])
    changed = np.array([one.changed for one in found])
    return [
        Row(f"{name}: recorded trials", len(trials.method), LEAST_TRIALS),
        Row(f"{name}: studies with a clear knee", float(clear.mean())),
        Row(f"{name}: score / best, median", float(np.median(factor))),
        Row(f"{name}: beyond twice the best, all", float((factor > 2).mean())),
        Row(f"{name}: beyond twice the best, clear", float((clear & (factor > 2)).mean()), MOST_BEYOND, True),
        Row(f"{name}: changes, all", float(changed.mean())),
        Row(f"{name}: changes, clear", float((clear * changed).mean()), MOST_CHANGED, True),
        Row(f"{name}: changes, of the clear ones", float(changed[clear].mean()) if clear.any() else np.nan),
        Row(f"{name}: changes, expected", float(np.mean([one.expected for one in found]))),
    ]


def left_out_rows(name: str, trials: Trials, copies: Trials, count: int = STUDIES) -> list[Row]:
    """Which trials the resampled studies leave out."""
    counts = {"RAE-L2": [0, 0], "copies": [0, 0], "good": [0, 0]}
    for rows in studies(count, len(trials.method)):
        drawn = trials.take(rows)
        best = copies._replace(reconstruction=np.array([np.nanmin(drawn.reconstruction) / 2]))
        one = Trials(*(np.concatenate(pair) for pair in zip(drawn, best, strict=True)))
        out = np.zeros(len(one.method), dtype=bool)
        out[[trial.row for trial in one.choice(0).left_out]] = True
        is_copy = one.method == record_trials.COPIES
        groups = {
            "RAE-L2": (one.method == "RAE-L2") & (one.latent_dim >= BROKEN_FROM),
            "copies": is_copy,
            "good": ~is_copy & (one.score[:, 0] <= GOOD * one.score[~is_copy, 0].min()),
        }
        for group, members in groups.items():
            counts[group][0] += int((out & members).sum())
            counts[group][1] += int(members.sum())
    return [Row(f"{name}: left out, {group}", out / max(1, all_)) for group, (out, all_) in counts.items()]


def main(cache: CacheOption = Path("runs/cache")) -> int:
    """Prints the rows."""
    torch.set_num_threads(1)
    table = cache / "recommendation-digits.csv"
    with threadpool_limits(1):
        record_trials.record(load_dataset("digits", Path("data")), table, cache)
        digits = read_trials(table)
        is_copy = digits.method == record_trials.COPIES
        trained, copies = digits.take(np.flatnonzero(~is_copy)), digits.take(np.flatnonzero(is_copy))
        return print_rows(
            [
                *recommendation_rows("digits", trained),
                *recommendation_rows("mnist", read_curves(MNIST_TABLE)),
                *left_out_rows("digits", trained, copies),
            ]
        )


if __name__ == "__main__":
    run_command(main)
