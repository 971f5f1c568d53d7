"""Which method is best? Regularizer, encoder, latent size, weight and annealing are searched together.

    python -m study.run --space method

A parameter may have a meaning only together with another: a weight needs a regularizer, a kernel needs an MMD. Such a
parameter is suggested only when it has one, and the sampler models each group of parameters separately. Encoders,
range of weights and first weight are each regularizer's own. To add one of yours, copy this file, and add its name to
`REGULARIZERS` and its class to `SAID` and to the space's `components`.

Cost: about four minutes on two CPU cores for digits (estimated). Expected: methods share the front. Plain AEs have the
smallest errors, and regularised ones at moderate weights have the best samples. RAE-L2 is not meant to be sampled from
N(0, I), so compare its `fitted_fid`.
"""

from __future__ import annotations

from study.built_in import BUILT_IN
from study.space import SearchSpace, first_weight, latent_sizes, weight_range

REGULARIZERS = ("none", "kl", "mmd", "adversarial", "sliced_wasserstein", "info_vae", "rae_l2")
SAID = BUILT_IN.of_kind("regularizer")
"""What each regularizer says of itself: a class of yours, or the description of a built-in one."""


def suggest(trial, data):
    small, middle, large = latent_sizes(data)
    regularizer = trial.suggest_categorical("regularizer", REGULARIZERS)
    encoders = list(SAID[regularizer].methods)
    params = {
        "regularizer": regularizer,
        "latent_dim": trial.suggest_categorical("latent_dim", (small // 2, small, middle, large)),
    }
    if regularizer == "none":
        return params
    params["encoder"] = trial.suggest_categorical("encoder", encoders) if len(encoders) > 1 else encoders[0]
    low, high = weight_range(data, SAID[regularizer])
    params["weight"] = trial.suggest_float("weight", low, high, log=True)
    params["annealing"] = trial.suggest_categorical("annealing", ("constant", "linear"))
    if params["annealing"] == "linear":
        params["annealing_fraction"] = trial.suggest_float("annealing_fraction", 0.1, 0.8)
    if SAID[regularizer].uses_kernel:
        params["kernel"] = trial.suggest_categorical("kernel", ("imq", "rbf"))
    return params


def first_points(data):
    small, middle, large = latent_sizes(data)
    points = [{"regularizer": "none", "latent_dim": middle}]
    for regularizer in REGULARIZERS[1:]:
        point = {"regularizer": regularizer, "latent_dim": middle, "weight": first_weight(data, SAID[regularizer])}
        point["annealing"] = "constant"
        if len(SAID[regularizer].methods) > 1:
            point["encoder"] = "deterministic"
        if SAID[regularizer].uses_kernel:
            point["kernel"] = "imq"
        points.append(point)
    ramp = {"annealing": "linear", "annealing_fraction": 0.5, "latent_dim": small}
    return [*points, {"regularizer": "none", "latent_dim": large}, *({**point, **ramp} for point in points[1:3])]


SPACE = SearchSpace(
    question="Which method, latent size, weight and annealing give up the least reconstruction for good samples?",
    suggest=suggest,
    first_points=first_points,
    num_trials=60,
    cost="estimated: about four minutes on two CPU cores (digits)",
)
