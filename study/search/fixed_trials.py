"""The trials that a study knows before its search begins: baselines, the points of a grid, and first points."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import optuna

from study.config import DataSummary, Origin, TrialConfig
from study.space import SearchSpace


class FixedTrial(NamedTuple):
    """A trial known beforehand.

    Attributes:
        origin: `BASELINE`, `GRID` or `FIRST`.
        values: A baseline's trial parameters; a point's values of what the space asks for.
    """

    origin: Origin
    values: Mapping[str, Any]


def fixed_trials(space: SearchSpace, data: DataSummary, earlier: Sequence[Mapping[str, Any]] = ()) -> list[FixedTrial]:
    """All fixed trials of a study, baselines and points by turns, so that a short study has some of both.

    Args:
        space: What is searched.
        data: The data set's summary.
        earlier: Points of an earlier study, which come before the space's own.
    """
    given, first_points = space.known_trials(data)
    baselines = [FixedTrial(Origin.BASELINE, values) for values in given]
    own = [point for point in first_points if point not in earlier]
    points = [FixedTrial(Origin.GRID if space.grid else Origin.FIRST, values) for values in (*earlier, *own)]
    turns = itertools.zip_longest(baselines, points)
    return [trial for turn in turns for trial in turn if trial is not None]


def fixed_configs(
    trials: Sequence[FixedTrial], space: SearchSpace, data: DataSummary, set_values: Mapping[str, Any]
) -> Iterator[TrialConfig]:
    """What fixed trials train, without a ledger. What a point leaves open is drawn at random.

    Args:
        trials: As `fixed_trials` gives them.
        space: What is searched.
        data: The data set's summary.
        set_values: Trial parameters that the command line sets for all trials.
    """
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for origin, values in trials:
        if origin != Origin.BASELINE:
            study.enqueue_trial(dict(values))
            values = space.suggested(study.ask(), data)
        yield space.config(data, values, set_values)
