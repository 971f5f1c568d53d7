"""Does ramping up the weight cure posterior collapse? VAEs with 32 latent units at a strong and a moderate weight.

The experiments of "Variational Autoencoder" (KLD annealing, after Bowman et al., arXiv 1511.06349). Its network of 500
units trains with constant and ramped weights, three seeds each. Its convolutional network, for which it claims the
cure, also trains without a KL (a Gaussian encoder at weight 0, whose deviations shrink) and with the schedule of that
work, `quality_gated`.

    python -m study.run --space annealing --dataset mnist

Cost: 19 minutes on two CPU cores. Found on MNIST (docs/experiments.md): at the strong weight every unit dies, with and
without a ramp, in both networks; a ramp only delays it. At the moderate weight nothing collapses, and ramped runs
reconstruct better with every seed.
"""

from __future__ import annotations

from study.space import SearchSpace

MODERATE, STRONG = 0.019, 0.15
"""Weights as multiples of the data's total pixel variance. On MNIST they are 1 and 8."""
SEEDS = (0, 1, 2)
EPOCHS = {"mlp_500": 8, "conv_64": 4}
"""The convolutional network takes seven times as long. Both values suit data of MNIST's size."""
LEARNING_RATES = {"mlp_500": 1e-3, "conv_64": 3e-4}
"""At 1e-3 the convolutional network with a Gaussian encoder dies on MNIST at any weight, even 0: its ReLUs turn off and
it outputs the mean image. That is a collapse, but the KL does not cause it."""
RAMP = 0.5
"""Share of the training after which a ramped weight is full."""


def suggest(trial, data):
    network = trial.suggest_categorical("network", tuple(EPOCHS))
    weight = trial.suggest_categorical("weight", [0.0, MODERATE * data.total_variance, STRONG * data.total_variance])
    annealing = trial.suggest_categorical("annealing", ("constant", "linear", "quality_gated"))
    return {
        "network": network,
        "epochs": EPOCHS[network],
        "learning_rate": LEARNING_RATES[network],
        "regularizer": "kl" if weight else "none",
        "weight": weight,
        "annealing": annealing,
        "annealing_fraction": 0.0 if annealing == "constant" else RAMP,
        "seed": trial.suggest_categorical("seed", SEEDS),
    }


def first_points(data):
    moderate, strong = MODERATE * data.total_variance, STRONG * data.total_variance
    units = [
        {"network": "mlp_500", "weight": weight, "annealing": annealing, "seed": seed}
        for weight in (moderate, strong)
        for annealing in ("constant", "linear")
        for seed in SEEDS
    ]
    convolutions = [
        (0.0, "constant"),
        (strong, "constant"),
        (strong, "linear"),
        (strong, "quality_gated"),
        (moderate, "constant"),
        (moderate, "quality_gated"),
    ]
    return [
        *units,
        *({"network": "conv_64", "weight": weight, "annealing": name, "seed": 0} for weight, name in convolutions),
    ]


SPACE = SearchSpace(
    question="Does ramping up the KL weight cure posterior collapse, or only delay it?",
    base={"encoder": "gaussian", "latent_dim": 32, "batch_size": 64},
    suggest=suggest,
    first_points=first_points,
    grid=True,
    num_trials=18,
    cost="19 minutes on two CPU cores (mnist)",
)
