"""Which method is best? Regularizer, encoder, latent size, weight and annealing are searched together.

    python -m study.run --space method

A parameter may have a meaning only together with another: a weight needs a regularizer, a kernel needs an MMD. Such a
parameter is suggested only when it has one, and the sampler models each group of parameters separately. Each
regularizer has its own range of weights, see `study.space.WEIGHT_RANGES`.

Cost: about four minutes on two CPU cores for digits (estimated). Expected: methods share the front. Plain AEs have the
smallest errors, and regularised ones at moderate weights have the best samples. RAE-L2 is not meant to be sampled from
N(0, I), so compare its `fitted_fid`.
"""

from __future__ import annotations

from study.space import SearchSpace, weight_range

LATENT_DIMS = (2, 4, 8, 16)
ENCODERS = {
    "none": ("deterministic",),
    "kl": ("gaussian",),
    "mmd": ("deterministic", "gaussian"),
    "adversarial": ("deterministic", "gaussian"),
    "sliced_wasserstein": ("deterministic", "gaussian"),
    "info_vae": ("gaussian",),
    "rae_l2": ("deterministic",),
}
"""The encoders of each regularizer."""

GOOD_WEIGHTS = {
    "kl": 0.01,
    "mmd": 0.3,
    "adversarial": 0.3,
    "sliced_wasserstein": 0.3,
    "info_vae": 0.003,
    "rae_l2": 0.001,
}
"""The first weights to try, as multiples of the data's total pixel variance."""


def suggest(trial, data):
    regularizer = trial.suggest_categorical("regularizer", tuple(ENCODERS))
    encoders = ENCODERS[regularizer]
    params = {
        "regularizer": regularizer,
        "latent_dim": trial.suggest_categorical("latent_dim", LATENT_DIMS),
        "encoder": trial.suggest_categorical("encoder", encoders) if len(encoders) > 1 else encoders[0],
    }
    if regularizer == "none":
        return params
    low, high = weight_range(data, regularizer)
    params["weight"] = trial.suggest_float("weight", low, high, log=True)
    params["annealing"] = trial.suggest_categorical("annealing", ("constant", "linear"))
    if params["annealing"] == "linear":
        params["annealing_fraction"] = trial.suggest_float("annealing_fraction", 0.1, 0.8)
    if regularizer in ("mmd", "info_vae"):
        params["kernel"] = trial.suggest_categorical("kernel", ("imq", "rbf"))
    return params


def first_points(data):
    points = [{"regularizer": "none", "latent_dim": 8}]
    for regularizer, multiple in GOOD_WEIGHTS.items():
        point = {"regularizer": regularizer, "latent_dim": 8, "weight": multiple * data.total_variance}
        point["annealing"] = "constant"
        if len(ENCODERS[regularizer]) > 1:
            point["encoder"] = "deterministic"
        if regularizer in ("mmd", "info_vae"):
            point["kernel"] = "imq"
        points.append(point)
    ramp = {"annealing": "linear", "annealing_fraction": 0.5, "latent_dim": 4}
    return [*points, {"regularizer": "none", "latent_dim": 16}, *({**point, **ramp} for point in points[1:3])]


SPACE = SearchSpace(
    question="Which method, latent size, weight and annealing give up the least reconstruction for good samples?",
    suggest=suggest,
    first_points=first_points,
    num_trials=60,
    cost="estimated: about four minutes on two CPU cores (digits)",
)
