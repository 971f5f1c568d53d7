"""What does the WAE's weight cost and buy on the codes of `latent_dim`'s first stage? Five weights, an AE and a VAE.

"Variational and Wasserstein Image Autoencoders" compares the three at one weight each. It finds the WAE's error above
the VAE's, suspects too strong a weight, and says that plotting several WAEs of different weights would be better. This
space does so, at the latent size where the WAE fell behind in `latent_dim` and at one where it did not, with the AE and
the VAE from there.

    python -m study.run --space wae_weight_stacked --dataset mnist
    python -m analysis.weight_curves --study wae_weight_stacked-mnist --out weight_curves.png

Cost: 37 minutes on two CPU cores, measured while another study ran on them; `latent_dim` takes a minute per model.
Found on MNIST (docs/experiments.md, one seed): up to the middle weight the WAE's error is within 5 % of the AE's and
below the VAE's, and its samples are best there too. Beyond it both get worse, and at the strongest weight its error is
above the VAE's at either size, as in the source. At 21 dimensions no weight makes it sample as well as the VAE.
"""

from __future__ import annotations

from study.space import SearchSpace, weight_range

LATENT_DIMS = (21, 8)
MULTIPLES = (0.01, 0.05, 0.3, 2.0, 10.0)
"""The WAE's weights as multiples of the data's total pixel variance. `latent_dim` uses the third."""
VAE_MULTIPLE = 0.002
"""The VAE's weight as a multiple of it, as in `latent_dim`."""


def suggest(trial, data):
    low, high = weight_range(data, "mmd")
    return {
        "weight": trial.suggest_float("weight", low, high, log=True),
        "latent_dim": trial.suggest_categorical("latent_dim", LATENT_DIMS),
    }


def baselines(data):
    plain = {"encoder": "deterministic", "regularizer": "none", "weight": 0.0, "kernel": "none"}
    weight = VAE_MULTIPLE * data.total_variance
    variational = {"encoder": "gaussian", "regularizer": "kl", "weight": weight, "kernel": "none"}
    return [{**method, "latent_dim": size} for size in LATENT_DIMS for method in (plain, variational)]


def first_points(data):
    return [
        {"weight": multiple * data.total_variance, "latent_dim": size} for size in LATENT_DIMS for multiple in MULTIPLES
    ]


SPACE = SearchSpace(
    question="What does the WAE's weight cost in error and buy in samples, beside an AE and a VAE on the same codes?",
    base={
        "network": "stacked",
        "width": 512,
        "epochs": 12,
        "encoder": "deterministic",
        "regularizer": "mmd",
        "kernel": "imq",
    },
    suggest=suggest,
    baselines=baselines,
    first_points=first_points,
    grid=True,
    num_trials=14,
    cost="37 minutes on two CPU cores shared with another study (mnist)",
)
