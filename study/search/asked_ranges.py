"""The ranges that a user asks for: how they are read, and whether a space's parameters can have them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from study.config import DataSummary
from study.errors import UserError
from study.ranges import RANGES
from study.search.narrowing import narrowed, own_distribution
from study.space import SearchSpace

Number = int | float
Kinds = dict[str, list[BaseDistribution]]
"""The distributions that a space gives to each parameter that it asks for."""
_FORMS = "give PARAMETER=LOW..HIGH, PARAMETER=CHOICE,CHOICE or PARAMETER=default"
_PROBES = 128


class Interval(NamedTuple):
    """A range of numbers, ends included."""

    low: Number
    high: Number


Asked = Interval | tuple[Any, ...] | None
"""A range as it is asked for: an interval, some values, or what the space says."""


def parse_range(text: str) -> tuple[str, Asked]:
    """Reads `weight=0.1..10`, `regularizer=kl,mmd` or `weight=default`.

    Raises:
        UserError: It is none of these.
    """
    name, equals, rest = (part.strip() for part in text.partition("="))
    if not (name and equals and rest):
        raise UserError(f"--range {text}: {_FORMS}")
    if rest == "default":
        return name, None
    low, dots, high = rest.partition("..")
    ends = _number(low), _number(high)
    if dots and ends[0] is not None and ends[1] is not None:
        return name, Interval(ends[0], ends[1])
    values = tuple(value.strip() for value in rest.split(","))
    if dots or not all(values):
        raise UserError(f"--range {text}: {_FORMS}")
    return name, values


def parse_ranges(texts: Iterable[str]) -> dict[str, Asked]:
    """Reads several; one parameter may be named once.

    Raises:
        UserError: One cannot be read, or a parameter is named twice.
    """
    found: dict[str, Asked] = {}
    for text in texts:
        name, asked = parse_range(text)
        if name in found:
            raise UserError(f"--range {text}: {name} is named twice")
        found[name] = asked
    return found


def searched_parameters(space: SearchSpace, data: DataSummary) -> Kinds:
    """What a space asks for, found by asking it many times at random."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(_PROBES):
        space.suggested(study.ask(), data)
    return recorded_parameters(study.get_trials(deepcopy=False))


def recorded_parameters(trials: Sequence[optuna.trial.FrozenTrial]) -> Kinds:
    """What trials were asked for."""
    found: Kinds = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            own = own_distribution(trial, name, distribution)
            if own not in found.setdefault(name, []):
                found[name].append(own)
    return found


def check_range(name: str, asked: Asked, kinds: Kinds) -> dict[str, Any] | None:
    """A range as it is recorded, see `study.changes.Change.value`; `replaces` if it is wider than the only one.

    Args:
        name: The parameter.
        asked: What is asked for it.
        kinds: What the study's space asks for.

    Raises:
        UserError: The study does not search the parameter, or it cannot have such a range.
    """
    option = _option(name, asked)
    if name not in kinds:
        if name == "method" and (kind := kinds.get("regularizer")):
            choices = ", ".join(str(choice) for choice in getattr(kind[0], "choices", ()))
            raise UserError(
                f"{option}: the method follows from the regularizer: give --range regularizer=... ({choices})"
            )
        raise UserError(f"{option}: the study does not search {name}, it searches {', '.join(sorted(kinds))}")
    if asked is None:
        return None
    own = kinds[name][0]
    if isinstance(own, CategoricalDistribution):
        return {"choices": _chosen(option, asked, own.choices)}
    assert isinstance(own, FloatDistribution | IntDistribution)
    low, high = _ends(option, asked)
    if isinstance(own, IntDistribution):
        if not (float(low).is_integer() and float(high).is_integer()):
            raise UserError(f"{option}: {name} is a whole number")
        low, high = int(low), int(high)
    else:
        low, high = float(low), float(high)
    if low > high:
        raise UserError(f"{option}: the range is empty, give the lower end first")
    allowed = RANGES.get(name)
    if allowed is not None and not (allowed.holds(low) and allowed.holds(high)):
        raise UserError(f"{option}: {name} must be {allowed}")
    if own.log and low <= 0:
        raise UserError(f"{option}: {name} is searched on a logarithmic scale: give a lower end above 0")
    wanted: dict[str, Any] = {"low": low, "high": high}
    if len(kinds[name]) == 1 and not own.low <= low <= high <= own.high:
        wanted["replaces"] = [own.low, own.high]
    if all(narrowed(kind, wanted) is None for kind in kinds[name]):
        raise UserError(f"{option}: no value of {name} lies in it, its values are {_values(kinds[name])}")
    return wanted


def _values(kinds: Sequence[BaseDistribution]) -> str:
    """Ranges of a number in words."""
    found = [kind for kind in kinds if isinstance(kind, FloatDistribution | IntDistribution)]
    return ", or ".join(
        f"{kind.low:g} to {kind.high:g}" + ("" if kind.step in (None, 1) else f" in steps of {kind.step:g}")
        for kind in found
    )


def _option(name: str, asked: Asked) -> str:
    if asked is None:
        return f"--range {name}=default"
    joined = f"{asked.low}..{asked.high}" if isinstance(asked, Interval) else ",".join(map(str, asked))
    return f"--range {name}={joined}"


def _ends(option: str, asked: Interval | tuple[Any, ...]) -> tuple[Number, Number]:
    if isinstance(asked, Interval):
        ends = [_number(asked.low), _number(asked.high)]
    else:
        ends = [_number(value) for value in asked] * (2 if len(asked) == 1 else 1)
        if len(asked) > 1:
            raise UserError(f"{option}: it is a number, give LOW..HIGH")
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        raise UserError(f"{option}: it is a number, give LOW..HIGH")
    return ends[0], ends[1]


def _chosen(option: str, asked: Interval | tuple[Any, ...], choices: Sequence[Any]) -> list[Any]:
    """The choices asked for, in the space's order."""
    if isinstance(asked, Interval):
        numbers = [choice for choice in choices if isinstance(choice, int | float) and not isinstance(choice, bool)]
        chosen = [choice for choice in numbers if asked.low <= choice <= asked.high]
        unknown: list[Any] = []
    else:
        known = {str(choice) for choice in choices}
        unknown = [value for value in asked if str(value) not in known]
        chosen = [choice for choice in choices if str(choice) in set(map(str, asked))]
    if unknown or not chosen:
        raise UserError(f"{option}: choose from {', '.join(map(str, choices))}")
    return chosen


def _number(value: Any) -> Number | None:
    """A finite number, whole if it is written so; None for anything else."""
    if isinstance(value, bool):
        return None
    text = str(value).strip()
    try:
        number = int(text) if re.fullmatch(r"[+-]?\d+", text, re.ASCII) else float(text)
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):
        return None
