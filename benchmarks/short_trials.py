"""Sixteen short trials on digits, of three methods, which both sides of `benchmarks.study` train."""

from __future__ import annotations

from study.space import SearchSpace

WEIGHTS = {"none": (0.0,), "kl": (0.003, 0.01), "mmd": (0.1, 0.3, 1.0)}
"""Multiples of the data's total pixel variance, by regularizer."""
LATENT_DIMS = (4, 8, 16)
NUM_TRIALS = 16


def points(total_variance: float) -> list[dict[str, str | int | float]]:
    """The trials, as values for the parameters of `suggest`."""
    found: list[dict[str, str | int | float]] = [
        {"regularizer": regularizer, "weight": share * total_variance, "latent_dim": latent_dim}
        for latent_dim in LATENT_DIMS
        for regularizer, shares in WEIGHTS.items()
        for share in shares
    ]
    return found[:NUM_TRIALS]


def settings(regularizer: str) -> dict[str, str]:
    """The parameters that the regularizer determines."""
    return {
        "encoder": "gaussian" if regularizer == "kl" else "deterministic",
        "kernel": "imq" if regularizer == "mmd" else "none",
    }


def suggest(trial, data):
    regularizer = trial.suggest_categorical("regularizer", tuple(WEIGHTS))
    return {
        "regularizer": regularizer,
        "weight": trial.suggest_float("weight", 0.0, data.total_variance),
        "latent_dim": trial.suggest_categorical("latent_dim", LATENT_DIMS),
        **settings(regularizer),
    }


SPACE = SearchSpace(
    question="How long do sixteen short trials take?",
    suggest=suggest,
    first_points=lambda data: points(data.total_variance),
    grid=True,
    num_trials=NUM_TRIALS,
)
