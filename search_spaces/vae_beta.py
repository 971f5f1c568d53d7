"""Which weight of a beta-VAE is best? Weights and latent sizes from almost an autoencoder to full collapse.

Higgins et al., beta-VAE (ICLR 2017). The weight multiplies the KL beside half the summed squared error, so the
calibrated value is near the attainable error per pixel, not 1 (Rybkin et al., sigma-VAE, arXiv 2006.13202).

    python -m study.run --space vae_beta

Cost: about a minute on two CPU cores for digits. Expected: small weights reconstruct like the autoencoder and sample
badly. Samples are best around 0.01 of the data's total variance. Far above it latent units die one by one, and both
objectives get worse.
"""

from __future__ import annotations

from study.space import SearchSpace, latent_sizes, weight_range


def suggest(trial, data):
    low, high = weight_range(data, "kl")
    return {
        "weight": trial.suggest_float("weight", low, high, log=True),
        "latent_dim": trial.suggest_categorical("latent_dim", latent_sizes(data)),
    }


def baselines(data):
    plain = {"encoder": "deterministic", "regularizer": "none", "weight": 0.0}
    unregularised = {"encoder": "gaussian", "regularizer": "none", "weight": 0.0}
    _, middle, _ = latent_sizes(data)
    return [{**method, "latent_dim": middle} for method in (plain, unregularised)]


def first_points(data):
    multiples, (small, middle, _) = (0.001, 0.01, 0.1), latent_sizes(data)
    sizes = (middle, small)
    return [{"weight": multiple * data.total_variance, "latent_dim": size} for size in sizes for multiple in multiples]


SPACE = SearchSpace(
    question="Which KL weight samples best for what it costs in reconstruction, and where does the posterior collapse?",
    base={"encoder": "gaussian", "regularizer": "kl"},
    suggest=suggest,
    baselines=baselines,
    first_points=first_points,
    num_trials=24,
    cost="about a minute on two CPU cores (digits)",
)
