"""The trials that a study is given beforehand: references, the points of a grid, and points to begin a search with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import optuna

from study.config import DataSummary, TrialConfig
from study.space import SearchSpace


class FixedTrial(NamedTuple):
    """A trial known beforehand.

    Attributes:
        origin: `reference`, `grid` or `first`.
        values: A reference's trial parameters; a point's values of what the space asks for.
    """

    origin: str
    values: Mapping[str, Any]


def fixed_trials(space: SearchSpace, data: DataSummary, earlier: Sequence[Mapping[str, Any]] = ()) -> list[FixedTrial]:
    """All of them, references and other points by turns, so that a short study has some of both.

    Args:
        space: What is searched.
        data: The data set's summary.
        earlier: Points of an earlier study, which come before the space's own.
    """
    baselines = [FixedTrial("reference", values) for values in space.baselines(data)]
    own = [point for point in space.first_points(data) if point not in earlier]
    points = [FixedTrial("grid" if space.grid else "first", values) for values in (*earlier, *own)]
    turns = itertools.zip_longest(baselines, points)
    return [point for turn in turns for point in turn if point is not None]


def fixed_configs(
    points: Sequence[FixedTrial], space: SearchSpace, data: DataSummary, fixed: Mapping[str, Any]
) -> Iterator[TrialConfig]:
    """What the points train, without a ledger; what a point leaves open is drawn at random.

    Args:
        points: As `fixed_trials` gives them.
        space: What is searched.
        data: The data set's summary.
        fixed: Trial parameters that the command line fixes for all trials.
    """
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in points:
        overrides = point.values
        if point.origin != "reference":
            study.enqueue_trial(dict(point.values))
            overrides = space.suggest(study.ask(), data)
        yield space.config(data, overrides, fixed)
