"""From trials to a recommendation: which trials may be chosen, which are Pareto-optimal, and the knee."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from study.config import METHODS, Origin, TrialConfig
from study.results import pareto
from study.results.frame import StudyFrames


class Choice(NamedTuple):
    """A study's trials, as rows of `frames.trials`.

    Attributes:
        values: Objectives, low is good (a maximised one is negated), [trials, k].
        eligible: Trials that may join the front (`pareto.may_join_front`) and have finite objectives, boolean [trials].
        front: Rows on the Pareto front, sorted by the first objective.
        knee: The row to recommend; None if the front is empty.
    """

    values: np.ndarray
    eligible: np.ndarray
    front: np.ndarray
    knee: int | None


def choose(frames: StudyFrames, objectives: tuple[str, ...] | None = None) -> Choice:
    """Finds the front and its knee on the study's objectives, or on some of them."""
    names = tuple(frames.objectives) if objectives is None else objectives
    directions = [frames.objectives.get(name, "minimize") for name in names]
    columns = [frames.column(name) for name in names]
    values = pareto.minimised(np.stack(columns, axis=1) if columns else np.empty((len(frames.trials), 0)), directions)
    trials = zip(frames.text("outcome"), _missing_weight(frames), frames.text("origin"), strict=True)
    may_join = np.array([pareto.may_join_front(*trial) for trial in trials], dtype=bool)
    eligible = may_join & np.isfinite(values).all(axis=1) & bool(names)
    front = front_of(values, eligible)
    return Choice(values, eligible, front, int(front[pareto.knee(values[front])]) if front.size else None)


def _missing_weight(frames: StudyFrames) -> np.ndarray:
    """Share of the full weight that each trial missed at its last epoch, [trials]; NaN for trials without a weight."""
    weight = frames.column("weight")
    return 1 - frames.column("train/weight") / np.where(weight > 0, weight, np.nan)


def front_of(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Rows on the Pareto front of the marked ones, sorted by the first objective, then the others.

    Args:
        values: Minimised objectives, [n, k].
        members: Boolean, [n].
    """
    rows = np.flatnonzero(members)
    front = rows[pareto.non_dominated(values[rows])]
    return front[np.lexsort(values[front].T[::-1])] if front.size else front


def replicates_of(frames: StudyFrames) -> dict[int, list[int]]:
    """Rows of the comparable replicates, by the row of the trial that they replicate.

    That trial is not among them: it was chosen for its values, so these are not a fair draw.
    """
    study, number, outcome = frames.text("study"), frames.column("number"), frames.text("outcome")
    replicate_of, replicate = frames.column("replicate_of"), frames.text("origin") == Origin.REPLICATE
    missing = _missing_weight(frames)
    originals = {(study[row], number[row]): int(row) for row in np.flatnonzero(~replicate)}
    copies: dict[int, list[int]] = {}
    for row in np.flatnonzero(replicate):
        original = originals.get((study[row], replicate_of[row]))
        if original is not None and pareto.is_comparable(outcome[row], missing[row]):
            copies.setdefault(original, []).append(int(row))
    return copies


def seed_groups(frames: StudyFrames, rows: np.ndarray) -> list[list[int]]:
    """Groups of two or more of the rows that share every parameter but the seed, as in a grid over seeds.

    A seed counts once in a group: equal trials of equal seeds would look like no spread at all.
    """
    names = ["study", *(name for name in TrialConfig().to_params() if name != "seed")]
    columns, seed = [frames.text(name) for name in names], frames.text("seed")
    groups: dict[tuple[str, ...], dict[str, int]] = {}
    for row in rows:
        key = tuple(str(column[row]) for column in columns)
        groups.setdefault(key, {}).setdefault(str(seed[row]), int(row))
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def highlights(frames: StudyFrames, at_most: int = 10) -> list[int]:
    """Rows to name in figures: knee and ends of the front, each method's knee, baselines, the rest of the front.

    The default of ten has room for the first three and the knees of seven methods.
    """
    choice = choose(frames)
    method, origin = frames.text("method"), frames.text("origin")
    rows = [] if choice.knee is None else [choice.knee, int(choice.front[0]), int(choice.front[-1])]
    order = list(METHODS)  # plain methods before their variants, in case there is no room for all
    for name in sorted(set(method[choice.eligible]), key=lambda m: (order.index(m) if m in order else len(order), m)):
        front = front_of(choice.values, choice.eligible & (method == name))
        rows.append(int(front[pareto.knee(choice.values[front])]))
    rows += np.flatnonzero(choice.eligible & (origin == Origin.BASELINE)).tolist() + choice.front.tolist()
    return list(dict.fromkeys(rows))[:at_most]


def latent_groups(latent_dim: np.ndarray, at_most: int = 4) -> list[tuple[str, np.ndarray]]:
    """Trials by latent size, as (label, boolean [trials]): one group per size if they are few, else ranges of sizes."""
    sizes = np.unique(latent_dim[np.isfinite(latent_dim)])
    groups = []
    for part in np.array_split(sizes, min(at_most, len(sizes))) if sizes.size else []:
        label = f"d = {part[0]:.0f}" if len(part) == 1 else f"d = {part[0]:.0f} to {part[-1]:.0f}"
        groups.append((label, (latent_dim >= part[0]) & (latent_dim <= part[-1])))
    return groups
