"""What to recommend of a study: which trials are left out, three picks, and how often the noise would change them.

NumPy alone: arrays in, rows out. `study.results.choice` applies it to a study's tables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from study.results import pareto

NEARLY = 0.1
"""A value is nearly the best if it is worse by at most this share of it."""
SCORE_NOISE = 0.03
"""Standard deviation of the logarithm of a score of samples: between seeds of the feature networks and draws of codes.

Measured between seeds: 2.9 % on digits, 1.8 % on MNIST, 2.4 % on Fashion-MNIST; between draws .5 % (docs/metrics.md).
"""
COLOUR_NOISE = {"classes": 0.07}
"""The same on colour images, by feature network, where it differs: 6.3 % on CIFAR-10, 7.1 % on flowers (those of
`contrast` are 3.2 and 2.9 %)."""
REPEATS = 400
DIVERSITY = ("val/precision", "val/coverage")
"""What a recommended trial must not be among the study's worst in. Trials that did not measure it are not judged."""
WORST_SHARE = 0.25
WORST_OF_MEDIAN = 0.8
"""A trial is among the worst if it lies in the lowest quarter and below this share of the median.

In resampled digits studies this leaves out 86 % of RAE-L2 trials with d >= 8, 61 % of trials whose samples are 50
repeated images (`copies` sees all of them), and .7 % of good trials (`benchmarks.recommendation`)."""
METHOD = "method"
"""What is wrong with a trial whose method does not make its codes N(0, I), when samples come from there."""
COPIES = "val/copies"
MOST_COPIES = 0.05
"""A trial copies if more than this share of its samples do: new images have .01, models .00 to .01 on digits, a set of
50 or 1,000 repeated training images 1."""
_FAR = 5.0
"""Standard deviations that noise is not expected to bridge."""
FEWEST = 4
"""Fewer measured trials have no lowest quarter to speak of."""


def score_noise(instrument: str, channels: int) -> float:
    """`SCORE_NOISE` of a feature network on images.

    Args:
        instrument: Its name, as of `study.measure.instrument`.
        channels: Of the images.
    """
    return COLOUR_NOISE.get(instrument, SCORE_NOISE) if channels > 1 else SCORE_NOISE


class Pick(NamedTuple):
    """A trial that is recommended.

    Attributes:
        row: Of the study's trials.
        objective: The objective in which it is nearly the best; None for the recommended one of all, the knee or,
            without a clear knee, the compromise.
    """

    row: int
    objective: int | None


class LeftOut(NamedTuple):
    """A trial that is not picked for its samples.

    Attributes:
        row: Of the study's trials.
        metric: Which metric is among the study's worst; or the one that counts copies; or `METHOD`.
        value: Its value; NaN for `METHOD`.
    """

    row: int
    metric: str
    value: float


def nearly_best(front: np.ndarray, objective: int) -> int:
    """Of the points that are nearly the best in one objective, the one that gives up least of the others.

    Args:
        front: Minimised objectives of the points on the front, [m, k], m at least 1, finite.
        objective: Its column.

    Returns:
        Row of the point. With several other objectives, the largest of their scaled values counts
        (`pareto.scaled`); of equal points, the best in the objective itself.
    """
    front = np.asarray(front, dtype=np.float64)
    own, best = front[:, objective], front[:, objective].min()
    others = np.delete(pareto.scaled(front), objective, axis=1).max(axis=1, initial=0.0)
    near = np.flatnonzero(own <= best + NEARLY * abs(best))
    return int(near[np.lexsort((own[near], others[near]))[0]])


def picks_of(
    values: np.ndarray, candidates: np.ndarray, front: np.ndarray, any_of_front: Collection[int], made: np.ndarray
) -> tuple[Pick, ...]:
    """The recommended trial, then for each objective the one that is nearly the best.

    Args:
        values: Minimised objectives, [trials, k].
        candidates: Rows on the Pareto front of those that may be recommended.
        front: Rows on the Pareto front of all.
        any_of_front: Objectives whose nearly best trial may be left out otherwise: its samples do not matter there.
        made: Rows on the Pareto front of those that may be picked for their samples.
    """
    if not candidates.size:
        return ()
    picks = [Pick(int(candidates[pareto.recommended(values[candidates])]), None)]
    for objective in range(values.shape[1]):
        rows = front if objective in any_of_front else made
        picks.append(Pick(int(rows[nearly_best(values[rows], objective)]), objective))
    return tuple(picks)


def left_out_of(
    measured: Mapping[str, np.ndarray],
    completed: np.ndarray,
    copies: np.ndarray | None = None,
    copies_name: str = COPIES,
) -> tuple[LeftOut, ...]:
    """Trials whose samples copy training images, or are among the study's worst in precision or coverage.

    No score of samples sees all of this.

    Args:
        measured: Metric name -> values of all trials, [trials]; more is better; NaN where it was not measured.
        completed: Trials that may join the front, boolean [trials].
        copies: The metric `copies` of all trials, [trials]; NaN where it was not measured.
        copies_name: Its column.

    Returns:
        At most one entry per trial, sorted by row. Of the trials that do not copy at least one stays, whatever its
        precision and coverage; if all copy, all stay.
    """
    share = np.full(len(completed), np.nan) if copies is None else copies
    copying = completed & (share > MOST_COPIES)
    found = {row: LeftOut(row, copies_name, float(share[row])) for row in np.flatnonzero(copying).tolist()}
    honest = completed & ~copying
    if not honest.any():
        return ()
    poor: dict[int, LeftOut] = {}
    for name, values in measured.items():
        known = np.flatnonzero(honest & np.isfinite(values))
        if len(known) < FEWEST:
            continue
        worst = float(np.quantile(values[known], WORST_SHARE))
        bound = min(worst, WORST_OF_MEDIAN * float(np.median(values[known])))
        for row in known[values[known] <= bound].tolist():
            poor.setdefault(row, LeftOut(row, name, float(values[row])))
    if set(np.flatnonzero(honest).tolist()) <= poor.keys():
        poor = {}
    found |= poor
    return tuple(found[row] for row in sorted(found))


def share_changed(values: np.ndarray, members: np.ndarray, noise: np.ndarray) -> float:
    """How often another trial would be recommended if everything were measured again.

    The values at hand have that noise too, so a repeat differs from them by sqrt(2) times as much.

    Args:
        values: Minimised objectives, [trials, k].
        members: Trials that may be picked, boolean [trials].
        noise: Standard deviation of each objective's logarithm, [k]; of the value itself, as a share of its mean
            size, where an objective is not positive throughout.

    Returns:
        The share of `REPEATS` perturbations, the same ones each time, in which the pick is not the pick without noise;
        0 without members.
    """
    found = values[members]
    if not len(found):
        return 0.0
    positive, size = (found > 0).all(axis=0), np.abs(found).mean(axis=0)

    def moved(steps: np.ndarray) -> np.ndarray:
        return np.where(positive, found * np.exp(steps), found + size * steps)

    # Most trials of a large study are too far from the front for any noise.
    near = [not pareto.dominates(found, best).any() for best in moved(-_FAR * np.sqrt(2) * np.asarray(noise))]
    found = found[near]
    found = found[np.lexsort(found.T[::-1])]  # so that the order of the trials does not matter
    pick = found[_recommended(found)]
    draws = np.random.default_rng(0).standard_normal((REPEATS, *found.shape)) * np.sqrt(2) * noise
    return float(np.mean([(found[_recommended(again)] != pick).any() for again in moved(draws)]))


def _recommended(values: np.ndarray) -> int:
    front = np.flatnonzero(pareto.non_dominated(values))
    return int(front[pareto.recommended(values[front])])
