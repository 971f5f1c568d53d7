"""Ranges that a running study's suggestions are limited to, for every sampler alike.

Optuna lets the range of a number change within a study, and the choices of a category not. So a number is asked for
in its new range, and stored with it. A category is asked for and stored with all its choices, and the sampler is shown
fewer. In either case the sampler is shown the earlier trials as if they had been drawn from the ranges in force, and
those that lie outside are hidden from it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

_OWN = "own_range:"
"""A trial's user attribute: the range that the space gave to a number which was drawn from another."""


class Narrowing:
    """Ranges in force.

    Args:
        ranges: By parameter, as `Change.value`.
    """

    def __init__(self, ranges: Mapping[str, Mapping[str, Any]]) -> None:
        self._ranges = ranges
        self._whole: dict[str, CategoricalDistribution] = {}

    def narrow(self, name: str, distribution: BaseDistribution) -> BaseDistribution:
        """The distribution in force in place of a parameter's own.

        The scale and the grid of steps stay. A range that has nothing in common with the parameter is passed over.
        """
        wanted = self._ranges.get(name)
        if wanted is None:
            return distribution
        if isinstance(distribution, CategoricalDistribution):
            self._whole[name] = distribution
        return narrowed(distribution, wanted) or distribution

    def whole(self, name: str, distribution: BaseDistribution) -> BaseDistribution:
        """The reverse of `narrow` for a category: with all its choices."""
        return self._whole.get(name, distribution)

    def shown(self, trials: Sequence[FrozenTrial], keep: bool) -> list[FrozenTrial]:
        """Trials as if they had been drawn from the ranges in force; those that change are copies.

        Args:
            trials: As stored.
            keep: Move those outside to the edge, rather than hide them.
        """
        found = [self._shown(trial, keep) for trial in trials]
        return [trial for trial in found if trial is not None]

    def _shown(self, trial: FrozenTrial, keep: bool) -> FrozenTrial | None:
        wanted = {
            name: self.narrow(name, own_distribution(trial, name, distribution))
            for name, distribution in trial.distributions.items()
        }
        if wanted == trial.distributions:
            return trial
        outside = [name for name, distribution in wanted.items() if not _holds(distribution, trial.params[name])]
        if outside and not keep:
            return None
        shown = copy.copy(trial)
        shown.params = trial.params | {
            name: _nearest(wanted[name], trial.params[name], trial.number) for name in outside
        }
        shown.distributions = wanted
        return shown


def narrowed(distribution: BaseDistribution, wanted: Mapping[str, Any]) -> BaseDistribution | None:
    """A distribution with another range, or fewer choices; None if the range is of another kind, or nothing is left.

    Args:
        distribution: The parameter's own.
        wanted: As `Change.value`.
    """
    if isinstance(distribution, CategoricalDistribution):
        kept = [choice for choice in distribution.choices if _is_among(choice, wanted.get("choices", ()))]
        return CategoricalDistribution(kept) if kept else None
    if not isinstance(distribution, FloatDistribution | IntDistribution) or "low" not in wanted:
        return None
    low, high = wanted["low"], wanted["high"]
    if isinstance(distribution, IntDistribution):
        low, high = math.ceil(low), math.floor(high)
    if distribution.step is not None:  # in decimals, as Optuna counts steps
        first, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
        low = first + step * math.ceil((Decimal(str(low)) - first) / step)
        high = first + step * math.floor((Decimal(str(high)) - first) / step)
    if low > high or (distribution.log and low <= 0):
        return None
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(low), int(high), log=distribution.log, step=distribution.step)
    low, high = float(low), float(high)
    return FloatDistribution(low, high, log=distribution.log, step=distribution.step)


def own_distribution(trial: FrozenTrial, name: str, distribution: BaseDistribution) -> BaseDistribution:
    """The distribution that the space gave to a trial's parameter."""
    own = trial.user_attrs.get(f"{_OWN}{name}")
    if own is None or not isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution
    return type(distribution)(*own, log=distribution.log, step=distribution.step)  # type: ignore[arg-type]


class SteeredTrial:
    """A trial that is asked for parameters in the ranges in force; all else is the trial's own.

    Args:
        trial: The trial. Values that are fixed beforehand stay.
        narrowing: The ranges.
    """

    def __init__(self, trial: optuna.trial.Trial, narrowing: Narrowing) -> None:
        self._trial, self._narrowing = trial, narrowing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """As `optuna.trial.Trial.suggest_float`."""
        found = self._in_force(name, FloatDistribution(low, high, log=log, step=step))
        return self._trial.suggest_float(name, found.low, found.high, step=found.step, log=found.log)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """As `optuna.trial.Trial.suggest_int`."""
        found = self._in_force(name, IntDistribution(low, high, log=log, step=step))
        return self._trial.suggest_int(name, found.low, found.high, step=found.step, log=found.log)

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        """An old name of `suggest_float`."""
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        """An old name of `suggest_float`."""
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        """An old name of `suggest_float`."""
        return self.suggest_float(name, low, high, step=q)

    def _in_force(self, name: str, own: Any) -> Any:
        if name in self._trial._fixed_params:  # Optuna has no public name for what was enqueued
            return own
        if (stored := self._trial.distributions.get(name)) is not None:  # a driver died before it had asked for all
            return stored
        found = self._narrowing.narrow(name, own)
        if found != own:
            self._trial.set_user_attr(f"{_OWN}{name}", [own.low, own.high])
        return found


class SteeredSampler(optuna.samplers.BaseSampler):
    """A sampler whose suggestions lie in the ranges in force.

    Args:
        inner: The sampler itself.
        narrowing: The ranges.

    Attributes:
        inner: The sampler itself.
    """

    def __init__(self, inner: optuna.samplers.BaseSampler, narrowing: Narrowing) -> None:
        self.inner, self._narrowing = inner, narrowing
        self._space: dict[str, BaseDistribution] = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What is sampled together. Optuna compares it with what is asked for, so categories have all their choices."""
        self._space = self.inner.infer_relative_search_space(study, trial)
        return {name: self._narrowing.whole(name, distribution) for name, distribution in self._space.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Samples what is sampled together."""
        return self.inner.sample_relative(study, trial, self._space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Samples a parameter by itself."""
        found = self._narrowing.narrow(param_name, param_distribution)
        if isinstance(found, CategoricalDistribution) and found.single():
            return found.choices[0]
        return self.inner.sample_independent(study, trial, param_name, found)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Passes it on."""
        self.inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: optuna.trial.TrialState, values: Sequence[float] | None
    ) -> None:
        """Passes it on."""
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Passes it on."""
        self.inner.reseed_rng()


def _is_among(choice: Any, wanted: Sequence[Any]) -> bool:
    """Whether a choice is in a list; 1, 1.0 and True are three choices."""
    return any(type(choice) is type(other) and choice == other for other in wanted)


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return _is_among(value, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low <= value <= distribution.high


def _nearest(distribution: BaseDistribution, value: Any, number: int) -> Any:
    """The edge next to a value that lies outside; of choices, by turns."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[number % len(distribution.choices)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return min(max(value, distribution.low), distribution.high)
