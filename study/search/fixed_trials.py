"""The trials that a study is given beforehand: references, the points of a grid, and points to begin a search with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import optuna

from study.config import DataSummary, TrialConfig
from study.space import SearchSpace


class GivenPoint(NamedTuple):
    """A trial known beforehand.

    Attributes:
        origin: `reference`, `grid` or `first`.
        values: A reference's trial parameters; a point's values of what the space asks for.
    """

    origin: str
    values: Mapping[str, Any]


def given_points(space: SearchSpace, data: DataSummary, earlier: Sequence[Mapping[str, Any]] = ()) -> list[GivenPoint]:
    """All of them, references and other points by turns, so that a short study has some of both.

    Args:
        space: What is searched.
        data: The data set's summary.
        earlier: Points of an earlier study, which come before the space's own.
    """
    references = [GivenPoint("reference", values) for values in space.references(data)]
    own = [point for point in space.first_points(data) if point not in earlier]
    points = [GivenPoint("grid" if space.grid else "first", values) for values in (*earlier, *own)]
    turns = itertools.zip_longest(references, points)
    return [point for turn in turns for point in turn if point is not None]


def given_configs(
    points: Sequence[GivenPoint], space: SearchSpace, data: DataSummary, fixed: Mapping[str, Any]
) -> Iterator[TrialConfig]:
    """What the points train, without a ledger; what a point leaves open is drawn at random.

    Args:
        points: As `given_points` gives them.
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
