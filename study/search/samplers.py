"""Samplers: what suggests the next trial, and which of the trials so far it learns from."""

from __future__ import annotations

import copy
import warnings
import zlib
from collections.abc import Callable, Container
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.config import UserError
from study.search.narrowing import Narrowing, SteeredSampler
from study.search.trial_record import origin_of

SAMPLERS = ("tpe", "gp", "nsga2", "nsga3", "qmc", "random")
_GENERATIONS = 4
_POPULATIONS = (4, 50)
_STARTUP, _LEAST_STARTUP = 10, 2
"""Random trials before the first of a model: Optuna's default, and the least that a model is made of."""
_CONSTRAINT = "constraints:"
"""What Optuna puts before a constraint's name in the system attributes of a trial."""

_WITHOUT_CONSTRAINTS = {"TPESampler", "NSGAIISampler", "NSGAIIISampler", "QMCSampler", "RandomSampler"}
"""Samplers to which a constraint of 0 is the same as none, so that none has to be added."""

Factory = Callable[..., optuna.samplers.BaseSampler]
"""A sampler of a user's own: a class or function that is called with `seed=`."""


class SearchedStudy(optuna.Study):
    """An Optuna study that shows samplers only the searched trials (`Origin.is_searched`); `get_trials` gives all.

    Baselines and trials beyond the search have no parameters of the space. If samplers saw them, NSGA-II would find no
    parameter that all trials share and suggest at random for ever, and a baseline would take a place among the good
    trials that TPE learns from.

    If some of those trials have constraints, samplers see the same constraints, in the same order, on all that have
    completed: 0 (feasible) where the ledger holds none. GPSampler requires it; to the others a 0 is the same as none.
    That is done as trials are shown, not as they are stored, since Optuna does not let finished ones be changed, and
    earlier studies have them.

    Attributes:
        narrowing: Ranges that suggestions are limited to; None if none was ever changed.
    """

    narrowing: Narrowing | None = None

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        """What Optuna's samplers call. The name is private to Optuna, so pyproject.toml pins optuna below 6."""
        found = super()._get_trials(deepcopy and self.narrowing is None, states, use_cache)
        trials = [trial for trial in found if origin_of(trial.user_attrs).is_searched]
        sampler = self.sampler.inner if isinstance(self.sampler, SteeredSampler) else self.sampler
        if self.narrowing is not None:
            # Genetic samplers remember the parents of a generation, and need them all.
            trials = self.narrowing.shown(trials, keep=isinstance(sampler, optuna.samplers.BaseGASampler))
            trials = copy.deepcopy(trials) if deepcopy else trials
        return trials if type(sampler).__name__ in _WITHOUT_CONSTRAINTS else _with_equal_constraints(trials)

    def hidden(self) -> int:
        """Trials that have ended with values and that samplers, the genetic ones aside, are not shown."""
        if self.narrowing is None:
            return 0
        found = super()._get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        trials = [trial for trial in found if origin_of(trial.user_attrs).is_searched]
        return len(trials) - len(self.narrowing.shown(trials, keep=False))

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """All trials, oldest first."""
        return super()._get_trials(deepcopy, states)

    def stop(self) -> None:
        """What a sampler calls that has tried everything. A study ends with its number of trials, so nothing."""


def _with_equal_constraints(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials with the constraints of all of them; those that change are copies."""
    names = sorted({name for trial in trials for name in trial.constraints})
    if not names:
        return trials
    return [
        _constrained(trial, names) if trial.state == TrialState.COMPLETE and [*trial.constraints] != names else trial
        for trial in trials
    ]


def _constrained(trial: FrozenTrial, names: list[str]) -> FrozenTrial:
    found, shown = trial.constraints, copy.copy(trial)
    shown.system_attrs = {key: value for key, value in trial.system_attrs.items() if not key.startswith(_CONSTRAINT)}
    for name in names:
        shown.set_constraint(name, found.get(name, 0.0))
    return shown


def build_sampler(
    sampler: str | Factory, seed: int, drawn: int, num_trials: int = 100, hidden: int = 0
) -> optuna.samplers.BaseSampler:
    """A sampler seeded by the study's seed and the ledger's size, so that a resumed study does not repeat itself.

    Args:
        sampler: One of `SAMPLERS`, or one of the user's own.
        seed: The study's seed.
        drawn: The number of trials in the ledger plus the number of their parameters: a driver may die between two.
        num_trials: Trials the study is to have. The genetic samplers size their populations so that there are several
            generations.
        hidden: Trials that have ended and that the sampler is not shown. They count as random ones, of which `tpe` and
            `gp` want ten before they use a model: two shown trials are enough, if the others are hidden.

    Raises:
        UserError: There is no such sampler.
    """
    mixed = zlib.crc32(f"{seed}:{drawn}".encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if not isinstance(sampler, str):
            return sampler(seed=mixed)
        if sampler not in SAMPLERS:
            raise UserError(f"no sampler {sampler!r}: choose from {', '.join(SAMPLERS)}")
        return _builtin(sampler, mixed, num_trials, hidden)


def _builtin(name: str, seed: int, num_trials: int, hidden: int) -> optuna.samplers.BaseSampler:
    smallest, largest = _POPULATIONS
    population = min(largest, max(smallest, num_trials // _GENERATIONS))
    startup = max(_LEAST_STARTUP, _STARTUP - hidden)
    options: dict[str, dict[str, Any]] = {
        "tpe": {"multivariate": True, "group": True, "constant_liar": True, "n_startup_trials": startup},
        "gp": {"warn_independent_sampling": False, "n_startup_trials": startup},
        "nsga2": {"population_size": population},
        "nsga3": {"population_size": population},
        "qmc": {"scramble": True, "warn_independent_sampling": False},
        "random": {},
    }
    classes: dict[str, Factory] = {
        "tpe": optuna.samplers.TPESampler,
        "gp": optuna.samplers.GPSampler,  # imports torch and SciPy with its first suggestion
        "nsga2": optuna.samplers.NSGAIISampler,
        "nsga3": optuna.samplers.NSGAIIISampler,
        "qmc": optuna.samplers.QMCSampler,
        "random": optuna.samplers.RandomSampler,
    }
    return classes[name](seed=seed, **options[name])
