"""Ranges that a running study's suggestions are limited to, for every sampler alike.

Optuna lets the range of a number change within a study, and the choices of a category not. So a number is asked for
in its new range, and stored with it. A category is asked for and stored with all its choices, and the sampler is shown
fewer. In either case the sampler is shown the earlier trials as if they had been drawn from the ranges in force, and
those that lie outside are hidden from it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Mapping, Sequence
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

_OWN_RANGE = "own_range:"
"""A trial's user attribute: the range that the space gave to a number which was drawn from another."""


class Narrowing:
    """Ranges in force.

    Args:
        ranges: By parameter, as `Change.value`.
    """

    def __init__(self, ranges: Mapping[str, Mapping[str, Any]]) -> None:
        self._ranges = ranges
        self._whole: dict[str, CategoricalDistribution] = {}
        self._known: dict[tuple[int, bool], FrozenTrial | None] = {}

    def narrow(self, name: str, distribution: BaseDistribution) -> BaseDistribution:
        """The distribution in force in place of a parameter's own; see `narrowed`, whose None leaves it as it is."""
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
        if not trial.state.is_finished():
            return self._drawn_inside(trial, keep)
        if (trial.number, keep) not in self._known:  # samplers ask for all trials, for each parameter anew
            self._known[trial.number, keep] = self._drawn_inside(trial, keep)
        return self._known[trial.number, keep]

    def _drawn_inside(self, trial: FrozenTrial, keep: bool) -> FrozenTrial | None:
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
    """What of a distribution lies in a range, or its choices that are wanted. The scale and the grid of steps stay.

    A parameter may have several ranges of its own, one for each method say. Only the one that the range was recorded to
    replace, as its `replaces`, is replaced by it and so can become wider.

    Args:
        distribution: The parameter's own.
        wanted: As `Change.value`.

    Returns:
        None if the range is of another kind, or nothing is left.
    """
    if isinstance(distribution, CategoricalDistribution):
        kept = [choice for choice in distribution.choices if _is_among(choice, wanted.get("choices", ()))]
        return CategoricalDistribution(kept) if kept else None
    if not isinstance(distribution, FloatDistribution | IntDistribution) or "low" not in wanted:
        return None
    low, high = wanted["low"], wanted["high"]
    if [distribution.low, distribution.high] != wanted.get("replaces"):
        low, high = max(low, distribution.low), min(high, distribution.high)
    if low > high or (distribution.log and low <= 0):
        return None
    if isinstance(distribution, IntDistribution):
        low, high = math.ceil(low), math.floor(high)
    if distribution.step is not None:  # in decimals, as Optuna counts steps
        first, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
        low = first + step * math.ceil((Decimal(str(low)) - first) / step)
        high = first + step * math.floor((Decimal(str(high)) - first) / step)
    if low > high:
        return None
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(low), int(high), log=distribution.log, step=distribution.step)
    return FloatDistribution(float(low), float(high), log=distribution.log, step=distribution.step)


def widened(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    """A number's distribution that holds a value too."""
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution
    low, high = min(distribution.low, value), max(distribution.high, value)
    return type(distribution)(low, high, log=distribution.log, step=distribution.step)  # type: ignore[arg-type]


def own_range(name: str, distribution: BaseDistribution) -> dict[str, Any]:
    """The user attribute of a trial whose parameter was drawn from another range than this, its own."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return {f"{_OWN_RANGE}{name}": [distribution.low, distribution.high]}


def own_distribution(trial: FrozenTrial, name: str, distribution: BaseDistribution) -> BaseDistribution:
    """The distribution that the space gave to a trial's parameter."""
    own = trial.user_attrs.get(f"{_OWN_RANGE}{name}")
    if own is None or not isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution
    return type(distribution)(*own, log=distribution.log, step=distribution.step)  # type: ignore[arg-type]


class SteeredTrial(optuna.trial.Trial):
    """A trial that is asked for parameters in the ranges in force.

    Args:
        trial: The trial. Values that are fixed beforehand stay.
        narrowing: The ranges.
    """

    def __init__(self, trial: optuna.trial.Trial, narrowing: Narrowing) -> None:
        vars(self).update(vars(trial))  # Trial's own would ask the sampler again
        self._narrowing = narrowing

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        """What every `suggest_…` calls. The name is private to Optuna, see `SearchedStudy`; so is the next."""
        return super()._suggest(name, self._in_force(name, distribution))

    def _check_distribution(self, name: str, distribution: BaseDistribution) -> None:
        """Does not warn of what `_suggest` has replaced."""

    def _in_force(self, name: str, own: BaseDistribution) -> BaseDistribution:
        if name in self._fixed_params or not isinstance(own, FloatDistribution | IntDistribution):
            return own
        if (stored := self.distributions.get(name)) is not None:  # a driver died before it had asked for all
            return stored
        found = self._narrowing.narrow(name, own)
        if found != own:
            for key, ends in own_range(name, own).items():
                self.set_user_attr(key, ends)
        return found


class _SeenStudy:
    """A study as a sampler sees it while a trial is drawn or ends: whichever way it asks for trials, it gets the same.

    Args:
        study: The study, whose `_get_trials` gives the trials as they are shown.
        trial: The trial, as it is shown; a sampler always finds it.
    """

    def __init__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._study, self._trial = study, trial
        self._storage = _SeenStorage(study._storage, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    @property
    def trials(self) -> list[FrozenTrial]:
        """As `optuna.Study.trials`."""
        return self.get_trials()

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        """As `optuna.Study.get_trials`."""
        found = self._study._get_trials(deepcopy, states, use_cache)
        if states is not None and self._trial.state not in states:
            return found
        others = [trial for trial in found if trial.number != self._trial.number]
        return sorted([*others, self._trial], key=lambda trial: trial.number)

    _get_trials = get_trials


class _SeenStorage:
    """The storage of such a study: BruteForceSampler reads its trials."""

    def __init__(self, storage: optuna.storages.BaseStorage, study: _SeenStudy) -> None:
        self._inner, self._study = storage, study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As `optuna.storages.BaseStorage.get_all_trials`."""
        return self._study.get_trials(deepcopy, states)


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
        self._space = self.inner.infer_relative_search_space(*self._seen(study, trial))
        return {name: self._narrowing.whole(name, distribution) for name, distribution in self._space.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Samples what is sampled together."""
        return self.inner.sample_relative(*self._seen(study, trial), self._space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Samples a parameter by itself."""
        found = self._narrowing.narrow(param_name, param_distribution)
        if isinstance(found, CategoricalDistribution) and found.single():
            return found.choices[0]
        return self.inner.sample_independent(*self._seen(study, trial), param_name, found)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Passes it on."""
        self.inner.before_trial(*self._seen(study, trial))

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Passes it on."""
        self.inner.after_trial(*self._seen(study, trial), state, values)

    def reseed_rng(self) -> None:
        """Passes it on."""
        self.inner.reseed_rng()

    def _seen(self, study: optuna.Study, trial: FrozenTrial) -> tuple[Any, FrozenTrial]:
        shown = self._narrowing.shown([trial], keep=True)[0]
        return _SeenStudy(study, shown), shown


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
