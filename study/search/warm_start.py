"""Warm start: a new study begins with the Pareto-optimal configurations of an earlier one.

It trains them again with its own seed, epochs and data, so that all of its trials can be compared. The sampler learns
from them as from any other first point.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from study.config import DataSummary, UserError
from study.disk.study_json import StudyRecord
from study.space import SearchSpace


def first_points(
    study: optuna.Study, objectives: Sequence[str], space: SearchSpace, data: DataSummary
) -> list[dict[str, Any]]:
    """The earlier study's front, as first points of a space.

    Args:
        study: The earlier study's ledger.
        objectives: The earlier study's objectives, by recorded name.
        space: What the new study searches.
        data: The new study's data.

    Raises:
        UserError: The earlier study has no completed trial, had other objectives, or searched outside this space.
    """
    name = f"--warm-start {study.study_name}"
    if space.grid:
        raise UserError(f"{name}: a grid trains only its own points; leave --warm-start out")
    wanted = [f"val/{objective}" for objective in space.objectives]
    if list(objectives) != wanted:
        raise UserError(f"{name}: it traded off {', '.join(objectives)}, this space {', '.join(wanted)}")
    points: list[dict[str, Any]] = []
    for trial in study.best_trials:
        if trial.params and trial.params not in points:  # a baseline has no parameters of the space
            _check(f"{name}: its trial {trial.number}", trial.params, space, data)
            points.append(dict(trial.params))
    if not points:
        raise UserError(f"{name}: none of its searched trials has completed; choose another study")
    return points


def _check(what: str, params: Mapping[str, Any], space: SearchSpace, data: DataSummary) -> None:
    """Checks that the space could suggest a point.

    Raises:
        UserError: A parameter is missing, unknown or outside its range.
    """
    asked = optuna.trial.FixedTrial(dict(params))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values outside their range are checked below
            space.suggested(asked, data)
    except UserError as error:
        raise UserError(f"{what} does not fit this space: {str(error).partition('. ')[0]}") from error
    strangers = sorted(set(params) - set(asked.params))
    if strangers:
        raise UserError(f"{what}: this space does not search {', '.join(strangers)}; choose a study of the same space")
    for parameter, distribution in asked.distributions.items():
        value = params[parameter]
        try:
            optuna.trial.create_trial(value=0.0, params={parameter: value}, distributions={parameter: distribution})
        except ValueError:
            raise UserError(f"{what}: {parameter}={value!r} lies outside this space") from None


def check_first_points(space: SearchSpace, data: DataSummary) -> None:
    """Checks the space's own first points, as far as they go: what a point leaves open is suggested.

    Raises:
        UserError: A point has a parameter that the space does not ask for.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would announce each of these studies
    for point in space.known_trials(data)[1]:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.enqueue_trial(dict(point))
        trial = study.ask()
        space.suggested(trial, data)
        strangers = sorted(set(point) - set(trial.params))
        if strangers:
            place = space.place(strangers[0])
            raise UserError(f"{place}first point {dict(point)}: suggest does not ask for {', '.join(strangers)}")


def check_same(record: StudyRecord, name: str | None, space: SearchSpace, data: DataSummary) -> None:
    """Checks a resumed study's warm start: the one it began with, and points of its space.

    Raises:
        UserError: `--warm-start` names another study, or a recorded point is not of this space.
    """
    begun = record.warm_start
    if name is not None and (begun is None or name != begun.study):
        raise UserError(f"study {record.name!r} began with --warm-start {begun and begun.study}: leave it out")
    for point in begun.points if begun else ():
        _check(f"study {record.name!r}: a point of its warm start", point, space, data)
