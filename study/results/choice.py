"""From trials to a recommendation: which may be chosen at all, which are Pareto-optimal, and the knee."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from study.config import METHODS, TrialConfig
from study.results import pareto
from study.results.frame import StudyFrames

EXTRA_ORIGINS = ("replicate", "retrain")
"""Trials beyond the search, made from trials of it: further seeds, and longer trainings."""


class Choice(NamedTuple):
    """Rows of `frames.trials` by what they are good for.

    Attributes:
        values: Objectives, low is good (a maximised one is negated), [trials, k].
        eligible: Completed under its full weight (a schedule that never got there trained something else), every
            objective finite, and not a further seed of another trial (the best of several would win by luck), [trials].
        front: Rows on the Pareto front, sorted by the first objective.
        knee: The row recommended when nothing else is said; None while the front is empty.
    """

    values: np.ndarray
    eligible: np.ndarray
    front: np.ndarray
    knee: int | None


def choose(frames: StudyFrames, objectives: tuple[str, ...] | None = None) -> Choice:
    """Finds front and knee on the study's objectives, or on some of them."""
    names = tuple(frames.objectives) if objectives is None else objectives
    directions = [frames.objectives.get(name, "minimize") for name in names]
    columns = [frames.column(name) for name in names]
    values = pareto.minimised(np.stack(columns, axis=1) if columns else np.empty((len(frames.trials), 0)), directions)
    first = ~np.isin(frames.text("origin"), EXTRA_ORIGINS)
    eligible = _comparable(frames) & first & np.isfinite(values).all(axis=1) & bool(names)
    front = front_of(values, eligible)
    return Choice(values, eligible, front, int(front[pareto.knee(values[front])]) if front.size else None)


def _comparable(frames: StudyFrames) -> np.ndarray:
    """Trials trained to their end, and under their full weight there, boolean [trials]."""
    reached = ~(frames.column("train/weight") < 0.999 * frames.column("weight"))
    return (frames.text("outcome") == "completed") & reached


def front_of(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Rows on the Pareto front among the marked ones, sorted by the first objective, then the others.

    Args:
        values: Minimised objectives, [n, k].
        members: Boolean, [n].
    """
    rows = np.flatnonzero(members)
    front = rows[pareto.non_dominated(values[rows])]
    return front[np.lexsort(values[front].T[::-1])] if front.size else front


def replicates_of(frames: StudyFrames) -> dict[int, list[int]]:
    """Rows of each replicated trial's replicates, under the trial's own row.

    That trial is not among them: it was chosen for its values, so they are not a fair draw.
    """
    study, number = frames.text("study"), frames.column("number")
    replicate_of, replicate = frames.column("replicate_of"), frames.text("origin") == "replicate"
    originals = {(study[row], number[row]): int(row) for row in np.flatnonzero(~replicate)}
    copies: dict[int, list[int]] = {}
    for row in np.flatnonzero(replicate & _comparable(frames)):
        original = originals.get((study[row], replicate_of[row]))
        if original is not None:
            copies.setdefault(original, []).append(int(row))
    return copies


def seed_groups(frames: StudyFrames, rows: np.ndarray) -> list[list[int]]:
    """Those of the rows that share every parameter but the seed, as a grid over seeds has them; groups of two or more.

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
    """Rows worth a name of their own: knee and ends of the front, each method's knee, references, more of the front.

    Ten have room for those three and the knees of seven methods.
    """
    choice = choose(frames)
    method, origin = frames.text("method"), frames.text("origin")
    rows = [] if choice.knee is None else [choice.knee, int(choice.front[0]), int(choice.front[-1])]
    order = list(METHODS)  # the plain methods before their variants, should there be more than have room
    for name in sorted(set(method[choice.eligible]), key=lambda m: (order.index(m) if m in order else len(order), m)):
        front = front_of(choice.values, choice.eligible & (method == name))
        rows.append(int(front[pareto.knee(choice.values[front])]))
    rows += np.flatnonzero(choice.eligible & (origin == "reference")).tolist() + choice.front.tolist()
    return list(dict.fromkeys(rows))[:at_most]


def latent_groups(latent_dim: np.ndarray, at_most: int = 4) -> list[tuple[str, np.ndarray]]:
    """Trials by latent size: (label, boolean [trials]), each size alone where they are few, else in ranges."""
    sizes = np.unique(latent_dim[np.isfinite(latent_dim)])
    groups = []
    for part in np.array_split(sizes, min(at_most, len(sizes))) if sizes.size else []:
        label = f"d = {part[0]:.0f}" if len(part) == 1 else f"d = {part[0]:.0f} to {part[-1]:.0f}"
        groups.append((label, (latent_dim >= part[0]) & (latent_dim <= part[-1])))
    return groups
