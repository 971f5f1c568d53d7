"""What is stored of a trial: Optuna's user attributes, and `trial.json` and `outcome.json` in the trial's folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial

from study.config import DataSummary, Origin, TrialConfig
from study.disk.files import write_json
from study.disk.layout import OUTCOME, TRIAL, trial_path
from study.results import pareto
from study.space import SearchSpace

BY_HAND = "by hand "
"""Tells in the reason of a stopped trial that no rung stopped it."""
RECONSTRUCTION = "val/reconstruction_mse"
"""The reconstruction error as epochs record and trials report it."""
_RUNG = "rung:"


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A trial to train.

    Attributes:
        number: Its number in the study, from 0.
        origin: Why it exists.
        config: What to train.
    """

    number: int
    origin: Origin
    config: TrialConfig


def origin_of(attributes: Mapping[str, Any]) -> Origin:
    """Why a trial exists; a sampler's suggestion has no such attribute."""
    return Origin(attributes.get("origin", Origin.SEARCH))


def unchecked(space: SearchSpace, data: DataSummary, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a trial that the space refuses, as far as they are known.

    Args:
        space: What is searched.
        data: The data set's summary.
        values: What was suggested, and what the command line sets.
    """
    params = {**TrialConfig().to_params(), **data.defaults, **space.base, **values, "dataset": data.name}
    if "method" not in values:
        del params["method"]  # it follows from the others
    return params


def write_trial(directory: Path, number: int, attributes: Mapping[str, Any], created: str) -> None:
    """Makes a trial's folder with its `trial.json`, unless it is there.

    Args:
        directory: The study's folder.
        number: The trial.
        attributes: Its user attributes.
        created: When it began.
    """
    path = trial_path(directory, number) / TRIAL
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        described = {name: attributes.get(name) for name in ("params", "replicate_of", "retrain_of")}
        write_json(path, {"number": number, "origin": origin_of(attributes), **described, "created": created})


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Attributes:
        outcome: `completed`, `stopped` or `failed`.
        reason: Why it failed or was stopped, one line.
        values: The objectives at its last epoch, in the study's order; None for a failed trial.
        epochs: Epochs it trained.
        ended: When.
        infeasible: By name, how far the trial is from comparable (0 is comparable): `budget`, the missing share of its
            epochs; `weight`, the missing share of its full weight; `extra`, 1 for a trial beyond the search.
    """

    outcome: str
    reason: str | None
    values: dict[str, float] | None
    epochs: int
    ended: str
    infeasible: dict[str, float]

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Ending | None:
        """Reads it from a trial's user attributes; None if they do not hold the whole record."""
        if "outcome" not in attributes:
            return None
        return cls(**{field.name: attributes[field.name] for field in dataclasses.fields(cls)})

    def store(self, trial: optuna.trial.Trial) -> None:
        """Sets the user attributes, `outcome` last: with it the record is whole."""
        for name, value in self.attributes().items():
            trial.set_user_attr(name, value)

    def attributes(self) -> dict[str, Any]:
        """The user attributes, `outcome` last."""
        stored = dataclasses.asdict(self)
        outcome = stored.pop("outcome")
        return {**stored, "outcome": outcome}

    def write(self, directory: Path, number: int) -> None:
        """Writes the trial's `outcome.json` below the study's folder."""
        record = dataclasses.asdict(self)
        del record["infeasible"]
        write_json(trial_path(directory, number) / OUTCOME, record)

    def may_join_front(self, origin: Origin) -> bool:
        """Whether the trial may join the front."""
        return pareto.may_join_front(self.outcome, self.infeasible.get("weight", 0.0), origin)


class RungResult(NamedTuple):
    """A trial that came to a rung.

    Attributes:
        number: The trial.
        epoch: The rung.
        values: Its objectives then, in the study's order.
        goes_on: What was decided.
        is_blind: Whether it did not beat the mean image then.
    """

    number: int
    epoch: int
    values: list[float]
    goes_on: bool
    is_blind: bool = False


def store_rung(trial: optuna.trial.Trial, order: int, result: RungResult) -> None:
    """Sets the user attribute of a result at a rung, the `order`-th of its study."""
    for name, record in rung_attribute(order, result).items():
        trial.set_user_attr(name, record)


def rung_attribute(order: int, result: RungResult) -> dict[str, Any]:
    """That user attribute by its name."""
    blind = {"blind": True} if result.is_blind else {}
    return {f"{_RUNG}{result.epoch}": {"order": order, "values": result.values, "goes_on": result.goes_on, **blind}}


def rung_results(trials: Iterable[FrozenTrial]) -> list[RungResult]:
    """All results at rungs, in the order in which they came."""
    found = []
    for trial in trials:
        for key, record in trial.user_attrs.items():
            if key.startswith(_RUNG):
                epoch, blind = int(key.removeprefix(_RUNG)), record.get("blind", False)
                result = RungResult(trial.number, epoch, record["values"], record["goes_on"], blind)
                found.append((record["order"], result))
    return [result for _, result in sorted(found)]
