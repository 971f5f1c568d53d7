"""Trials beyond the search: a trial's configuration again, with other seeds or for another number of epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial

from study.config import Origin
from study.search.trial_record import Ending


def replicates(trials: Sequence[FrozenTrial], number: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The user attributes of a trial's replicates, one for each seed that it has none with, see `_counts`.

    Args:
        trials: All trials of the study.
        number: The trial to repeat.
        seeds: Seeds for training; a replicate differs from the trial in its seed alone.
    """
    earlier = [trial for trial in trials if trial.user_attrs.get("replicate_of") == number]
    known = {trial.user_attrs["params"]["seed"] for trial in earlier if _counts(trial)}
    return [
        {
            "origin": Origin.REPLICATE,
            "params": {**trials[number].user_attrs["params"], "seed": seed},
            "replicate_of": number,
        }
        for seed in seeds
        if seed not in known
    ]


def retrained(trials: Sequence[FrozenTrial], number: int, epochs: int) -> list[dict[str, Any]]:
    """The user attributes of a trial that trains another's configuration for so many epochs.

    Args:
        trials: All trials of the study.
        number: The trial to train again, from new initial weights.
        epochs: Passes over the training split.

    Returns:
        One, or none if there is such a trial, see `_counts`.
    """
    params = {**trials[number].user_attrs["params"], "epochs": epochs}
    attributes = {"origin": Origin.RETRAIN, "params": params, "retrain_of": number}
    others = [trial.user_attrs for trial in trials if _counts(trial)]
    return [] if any(attributes.items() <= other.items() for other in others) else [attributes]


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial was trained to its end, or may still be; not one that failed or was stopped by hand."""
    ending = Ending.of(trial.user_attrs)
    return not trial.state.is_finished() if ending is None else ending.outcome == "completed"
