"""Samplers: what suggests the next trial, and which of the trials so far it learns from."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Container

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.config import UserError
from study.search.trial_record import origin_of

SAMPLERS = ("tpe", "nsga2", "random")
_GENERATIONS = 4
_POPULATIONS = (4, 50)


class SearchedStudy(optuna.Study):
    """An Optuna study that shows samplers only the searched trials (`Origin.is_searched`); `get_trials` gives all.

    Baselines and trials beyond the search have no parameters of the space. If samplers saw them, NSGA-II would find no
    parameter that all trials share and suggest at random for ever, and a baseline would take a place among the good
    trials that TPE learns from.
    """

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        """What Optuna's samplers call. The name is private to Optuna, so pyproject.toml pins optuna below 6."""
        trials = super()._get_trials(deepcopy, states, use_cache)
        return [trial for trial in trials if origin_of(trial.user_attrs).is_searched]

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """All trials, oldest first."""
        return super()._get_trials(deepcopy, states)


def build_sampler(name: str, seed: int, drawn: int, num_trials: int = 100) -> optuna.samplers.BaseSampler:
    """A sampler seeded by the study's seed and the ledger's size, so that a resumed study does not repeat itself.

    Args:
        name: One of `SAMPLERS`.
        seed: The study's seed.
        drawn: The number of trials in the ledger plus the number of their parameters: a driver may die between two.
        num_trials: Trials the study is to have. NSGA-II sizes its populations so that there are several generations.

    Raises:
        UserError: There is no such sampler.
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
