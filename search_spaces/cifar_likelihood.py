"""Learned variances, one for all pixels or one for each, against a fixed one whose weight has to be searched.

The model of "Variational Autoencoders" (CIFAR-10, a Gaussian likelihood with its variance from the decoder). A fixed
variance σ² is a KL weight of σ² beside half the squared error (Rybkin et al., sigma-VAE, arXiv 2006.13202): so unit
variance, four weights between a hundredth and all of the pixels' mean variance, and the two learned variances at
weight 1, the ELBO.

    python -m study.run --space cifar_likelihood --dataset cifar10

Expected: at unit variance and weight 1 the posterior collapses; one learned variance comes near the best fixed one
without a search (digits: error .0186 and sample FID 3.2, the share .3 has .0161 and 3.1). A variance for each pixel has
by far the best ELBO and a larger squared error, since it counts most where pixels hardly vary.
"""

from __future__ import annotations

from study.space import SearchSpace

SHARES = (0.03, 0.1, 0.3, 1.0)
"""Fixed variances, as shares of the pixels' mean variance."""


def suggest(trial, data):
    likelihood = trial.suggest_categorical("likelihood", ("gaussian", "gaussian_scalar", "gaussian_pixel"))
    if likelihood != "gaussian":
        return {"likelihood": likelihood, "weight": 1.0}
    return {"likelihood": likelihood, "weight": trial.suggest_categorical("weight", _weights(data))}


def _weights(data):
    variance = data.total_variance / (data.channels * data.height * data.width)
    return [1.0, *(share * variance for share in SHARES)]


def first_points(data):
    learned = [{"likelihood": "gaussian_scalar"}, {"likelihood": "gaussian_pixel"}]
    return [*learned, *({"likelihood": "gaussian", "weight": weight} for weight in _weights(data))]


SPACE = SearchSpace(
    question="Do learned variances find the trade-off for which a fixed variance needs a search?",
    base={"encoder": "gaussian", "regularizer": "kl", "latent_dim": 64},
    suggest=suggest,
    first_points=first_points,
    grid=True,
    num_trials=7,
    cost="estimated: about a minute on two CPU cores (digits)",
)
