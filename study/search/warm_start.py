"""Warm start: the Pareto-optimal configurations of an earlier study are among the first that a new one trains.

They are trained anew under the new study's seed, epochs and data, so that all of its trials can be compared and its
ledger holds nothing it has not seen; a sampler learns from them as from any other first point.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from study.config import DataSummary, UserError
from study.space import SearchSpace


def first_points(
    study: optuna.Study, objectives: Sequence[str], space: SearchSpace, data: DataSummary
) -> list[dict[str, Any]]:
    """The earlier study's front, as first points of a space.

    Args:
        study: The earlier study's ledger.
        objectives: What the earlier study traded off, by recorded name.
        space: What the new study searches.
        data: The new study's data.

    Raises:
        UserError: It has no completed trial, traded off something else, or searched what this space does not hold.
    """
    name = f"--warm-start {study.study_name}"
    if space.grid:
        raise UserError(f"{name}: a grid trains its own points alone; leave it out")
    wanted = [f"val/{objective}" for objective in space.objectives]
    if list(objectives) != wanted:
        raise UserError(f"{name}: it traded off {', '.join(objectives)}, this space {', '.join(wanted)}")
    points: list[dict[str, Any]] = []
    for trial in study.best_trials:
        if trial.params and trial.params not in points:  # a reference has none: it was not searched
            _check(f"{name}: its trial {trial.number}", trial.params, space, data)
            points.append(dict(trial.params))
    if not points:
        raise UserError(f"{name}: none of its searched trials has completed; choose another study")
    return points


def _check(what: str, params: Mapping[str, Any], space: SearchSpace, data: DataSummary) -> None:
    """Refuses a point that the space would not suggest.

    Raises:
        UserError: A parameter is missing, unknown or outside its range.
    """
    asked = optuna.trial.FixedTrial(dict(params))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values outside their range are looked at below
            space.suggest(asked, data)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} does not fit this space: {str(error).partition('. ')[0]}") from error
    strangers = sorted(set(params) - set(asked.params))
    if strangers:
        raise UserError(f"{what}: this space does not search {', '.join(strangers)}; choose a study of the same space")
    for parameter, distribution in asked.distributions.items():
        if not _holds(distribution, params[parameter]):
            raise UserError(f"{what}: {parameter}={params[parameter]!r} lies outside this space")


def _holds(distribution: optuna.distributions.BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:
        return False


def check_same(record: StudyRecord, name: str | None, space: SearchSpace, data: DataSummary) -> None:
    """Refuses another warm start than the one a study began with, and recorded points that are not of its space.

    Raises:
        UserError: It differs.
    """
    begun = record.warm_start
    if name is not None and (begun is None or name != begun.study):
        raise UserError(f"study {record.name!r} was begun with --warm-start {begun and begun.study}: leave it out")
    for point in begun.points if begun else ():
        _check(f"study {record.name!r}: a point of its warm start", point, space, data)
