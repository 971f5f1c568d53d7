"""Does a code with more channels reconstruct better and generate worse? Maps of two sizes, three depths, two weights.

The dilemma of the large tokenizers (VA-VAE, arXiv 2501.01423; DC-AE 1.5, 2508.00413), on images that a processor can
train on. Residual networks encode an image as a map a quarter (f4) or an eighth (f8) as high and wide, with 4, 8 or 16
channels, under a KL of 1e-6 (hardly any) and 1e-3 times the pixels' total variance, with three seeds each. Draws from
N(0, I) say little about such codes, so the objectives are the FID of reconstructions and that of samples from the prior
fitted to the codes.

    python -m study.run --space latent_grid --dataset cifar10 --epochs 2

Cost: estimated from single trainings, one and a half to two hours on two CPU cores for two epochs of CIFAR-10. An epoch
takes 66 s (f4) or 87 s (f8) of one core. Not in the estimate are the fitted priors. Without `--epochs` a training has
the data set's own number, ten for CIFAR-10. The grid as a whole was not run, and no model of it to its end; 250 steps
leave blurred images with a checkerboard.
"""

from __future__ import annotations

from study.code_map import map_pixels
from study.space import SearchSpace

NETWORKS = ("residual_f4", "residual_f8")
CHANNELS = (4, 8, 16)
MULTIPLES = (1e-6, 1e-3)
"""The KL's weights as multiples of the data's total pixel variance."""
SEEDS = (0, 1, 2)


def suggest(trial, data):
    network = trial.suggest_categorical("network", NETWORKS)
    pixels = map_pixels(data, network)
    return {
        "network": network,
        "latent_dim": trial.suggest_int("latent_dim", CHANNELS[0] * pixels, CHANNELS[-1] * pixels, step=pixels),
        "weight": trial.suggest_categorical("weight", [multiple * data.total_variance for multiple in MULTIPLES]),
        "seed": trial.suggest_categorical("seed", SEEDS),
    }


def first_points(data):
    return [
        {
            "network": network,
            "latent_dim": channels * map_pixels(data, network),
            "weight": multiple * data.total_variance,
            "seed": seed,
        }
        for seed in SEEDS
        for multiple in MULTIPLES
        for channels in CHANNELS
        for network in NETWORKS
    ]


SPACE = SearchSpace(
    question="Do more channels of a code map improve reconstruction at the cost of generation?",
    base={
        "encoder": "gaussian",
        "regularizer": "kl",
        "width": 32,
        "batch_size": 64,
        "learning_rate": 2e-3,
    },
    suggest=suggest,
    first_points=first_points,
    grid=True,
    num_trials=36,
    objectives=("reconstruction_fid", "fitted_fid"),
    cost="estimated: one and a half to two hours on two CPU cores (cifar10, --epochs 2)",
)
