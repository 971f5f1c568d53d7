"""What do absolute errors, a perceptual term and total variation do to a VAE's images? A deep network on photographs.

The experiment of "Variational autoencoder with perceptual loss" on flowers. Its loss, `5 mean|x - x̂| + mean|Δ
features| + 0.5 mean total variation + KL` on [-1, 1], is here `laplace` with perceptual_weight 0.1,
total_variation_weight 0.2 and a KL weight of P/(5d), for P numbers in an image and d latent units (with its KL
corrected). The features come from a classifier trained on the data, which is not the feature network.

    python -m study.run --space loss_terms --dataset folder:flowers

Cost: about six minutes on two CPU cores for digits (estimated). Found on digits, in short trials at other KL weights:
the terms shift the balance more than the front. Reconstructions are sharper (a lower `reconstruction_fid`) at a larger
squared error; total variation makes both worse. On 64x64 photographs look at the pictures first.
"""

from __future__ import annotations

from study.space import SearchSpace

LATENT_DIM = 32
PERCEPTUAL, TOTAL_VARIATION = 0.1, 0.2
"""The weights of the published experiment."""


def published_weight(data):
    """The KL weight of the published experiment."""
    return data.channels * data.height * data.width / (5 * LATENT_DIM)


def suggest(trial, data):
    weight = published_weight(data)
    return {
        "weight": trial.suggest_float("weight", 0.01 * weight, 3 * weight, log=True),
        "perceptual_weight": trial.suggest_float("perceptual_weight", 0.01, 1.0, log=True),
        "total_variation_weight": trial.suggest_float("total_variation_weight", 0.02, 2.0, log=True),
    }


def baselines(data):
    weight = 0.3 * published_weight(data)
    squares = {"likelihood": "gaussian", "weight": 0.01 * data.total_variance}
    none, perceptual = {"weight": weight}, {"weight": weight, "perceptual_weight": PERCEPTUAL}
    return [squares, none, perceptual, {"weight": weight, "total_variation_weight": TOTAL_VARIATION}]


def first_points(data):
    terms = {"perceptual_weight": PERCEPTUAL, "total_variation_weight": TOTAL_VARIATION}
    return [{"weight": share * published_weight(data), **terms} for share in (1.0, 0.3, 0.1)]


SPACE = SearchSpace(
    question="What do a perceptual term and total variation buy beside absolute errors, and at what cost?",
    base={
        "encoder": "gaussian",
        "regularizer": "kl",
        "latent_dim": LATENT_DIM,
        "network": "deep",
        "width": 16,
        "learning_rate": 1e-3,
        "likelihood": "laplace",
    },
    suggest=suggest,
    baselines=baselines,
    first_points=first_points,
    num_trials=20,
    cost="estimated: about six minutes on two CPU cores (digits)",
)
