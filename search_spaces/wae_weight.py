"""What does each WAE-MMD weight cost and buy? Weight, latent size and kernel are searched, beside an AE and a VAE.

Tolstikhin et al., Wasserstein Auto-Encoders (arXiv 1711.01558), train at a single weight. A comparison with a VAE then
says more about that weight than about the method: too strong a weight costs reconstruction, too weak a one costs
samples.

    python -m study.run --space wae_weight

Cost: about a minute and a half on two CPU cores for digits. Expected: as the weight grows, `reconstruction_mse` rises
slowly and `sample_fid` falls; then both rise. The plain AE has the lowest error and by far the worst samples.
"""

from __future__ import annotations

from study.space import SearchSpace, latent_sizes, weight_range


def suggest(trial, data):
    low, high = weight_range(data, "mmd")
    return {
        "weight": trial.suggest_float("weight", low, high, log=True),
        "latent_dim": trial.suggest_categorical("latent_dim", latent_sizes(data)),
        "kernel": trial.suggest_categorical("kernel", ("imq", "rbf")),
    }


def baselines(data):
    plain = {"encoder": "deterministic", "regularizer": "none", "weight": 0.0, "kernel": "none"}
    variational = {"encoder": "gaussian", "regularizer": "kl", "weight": 0.01 * data.total_variance, "kernel": "none"}
    small, middle, large = latent_sizes(data)
    return [{**method, "latent_dim": size} for size in (middle, large, small) for method in (plain, variational)]


def first_points(data):
    variance, (small, middle, large) = data.total_variance, latent_sizes(data)
    return [
        {"weight": 0.003 * variance, "latent_dim": middle, "kernel": "imq"},
        {"weight": 0.3 * variance, "latent_dim": middle, "kernel": "imq"},
        {"weight": 0.3 * variance, "latent_dim": small, "kernel": "imq"},
        {"weight": 0.03 * variance, "latent_dim": large, "kernel": "imq"},
        {"weight": 0.3 * variance, "latent_dim": middle, "kernel": "rbf"},
        {"weight": 3.0 * variance, "latent_dim": middle, "kernel": "imq"},
    ]


SPACE = SearchSpace(
    question="How much reconstruction does each WAE-MMD weight cost, and how much better are the samples it buys?",
    base={"encoder": "deterministic", "regularizer": "mmd"},
    suggest=suggest,
    baselines=baselines,
    first_points=first_points,
    num_trials=24,
    cost="about a minute and a half on two CPU cores (digits)",
)
