"""The joint space: regularizer, encoder, latent size, weight and annealing searched together.

    python -m study.run --space method

What a parameter means can depend on another (no weight without a regularizer, no kernel without an MMD); such a
parameter is asked for only where it means something, and the sampler models each group of parameters on its own.

Expected: the front is shared: plain AEs hold the end of small error, WAEs and VAEs at moderate weights the end of
good samples.
"""

from __future__ import annotations

from study.space import SearchSpace, weight_range

LATENT_DIMS = (2, 4, 8, 16)


def suggest(trial, data):
    regularizer = trial.suggest_categorical("regularizer", ("none", "kl", "mmd"))
    params = {
        "regularizer": regularizer,
        "latent_dim": trial.suggest_categorical("latent_dim", LATENT_DIMS),
        "encoder": "gaussian",
    }
    if regularizer == "none":
        return {**params, "encoder": "deterministic"}
    low, high = weight_range(data, "kl", "mmd")
    params["weight"] = trial.suggest_float("weight", low, high, log=True)
    params["annealing"] = trial.suggest_categorical("annealing", ("constant", "linear"))
    if params["annealing"] == "linear":
        params["annealing_fraction"] = trial.suggest_float("annealing_fraction", 0.1, 0.8)
    if regularizer == "mmd":
        params["encoder"] = trial.suggest_categorical("encoder", ("deterministic", "gaussian"))
        params["kernel"] = trial.suggest_categorical("kernel", ("imq", "rbf"))
    return params


def first_points(data):
    variance = data.total_variance
    plain = {"regularizer": "none"}
    variational = {"regularizer": "kl", "weight": 0.01 * variance, "annealing": "constant"}
    wasserstein = {
        "regularizer": "mmd",
        "encoder": "deterministic",
        "kernel": "imq",
        "weight": 0.3 * variance,
        "annealing": "constant",
    }
    ramp = {"annealing": "linear", "annealing_fraction": 0.5}
    return [
        {**plain, "latent_dim": 8},
        {**variational, "latent_dim": 8},
        {**wasserstein, "latent_dim": 8},
        {**plain, "latent_dim": 16},
        {**variational, **ramp, "latent_dim": 4},
        {**wasserstein, **ramp, "latent_dim": 4},
    ]


SPACE = SearchSpace(
    question="Which method, latent size, weight and annealing give up the least reconstruction for good samples?",
    suggest=suggest,
    first_points=first_points,
    num_trials=40,
    cost="about two and a half minutes on two CPU cores (digits)",
)
