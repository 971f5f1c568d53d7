"""Who suggests the next trial, and which of the trials so far it is shown."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Container

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.config import UserError

SAMPLERS = ("tpe", "nsga2", "random")
_SEARCHED = ("first", "grid", "search")
"""Origins of the trials that a sampler is shown."""
_GENERATIONS = 4
_POPULATIONS = (4, 50)


class SearchedStudy(optuna.Study):
    """An Optuna study that shows its sampler the searched trials alone; everybody else sees all of them.

    References and trials beyond the search have no parameters of the space. Were they shown, NSGA-II would find no
    parameter that all trials have in common and suggest at random for ever, and a reference would take a place among
    the good trials that TPE learns from.
    """

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        """What Optuna's samplers call."""
        trials = super()._get_trials(deepcopy, states, use_cache)
        return [trial for trial in trials if trial.user_attrs.get("origin", "search") in _SEARCHED]

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """All trials, oldest first."""
        return super()._get_trials(deepcopy, states)


def build_sampler(name: str, seed: int, drawn: int, num_trials: int = 100) -> optuna.samplers.BaseSampler:
    """A sampler seeded by the study's seed and what the ledger holds, so that a resumed study does not repeat itself.

    Args:
        name: One of `SAMPLERS`.
        seed: The study's seed.
        drawn: Trials in the ledger and all their parameters, counted: a driver may die between two of these.
        num_trials: Trials the study is to have: NSGA-II makes its populations small enough for some generations.

    Raises:
        UserError: No such sampler.
    """
    mixed = zlib.crc32(f"{seed}:{drawn}".encode())
    if name == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(seed=mixed, multivariate=True, group=True, constant_liar=True)
    if name == "nsga2":
        smallest, largest = _POPULATIONS
        population = min(largest, max(smallest, num_trials // _GENERATIONS))
        return optuna.samplers.NSGAIISampler(seed=mixed, population_size=population)
    if name == "random":
        return optuna.samplers.RandomSampler(seed=mixed)
    raise UserError(f"no sampler {name!r}: choose from {', '.join(SAMPLERS)}")
