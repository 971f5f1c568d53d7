"""Can a learned variance, one for all pixels or one per pixel, replace the search for the weight of a fixed one?

The model of "Variational Autoencoders" (CIFAR-10, a Gaussian likelihood whose decoder outputs the variance). A fixed
variance σ² equals a KL weight of σ² beside half the squared error (Rybkin et al., sigma-VAE, arXiv 2006.13202). The
space compares unit variance, four weights from 0.03 to 1 times the pixels' mean variance, and the two learned
variances at weight 1, which is the ELBO.

    python -m study.run --space cifar_likelihood --dataset cifar10

Cost: about a minute on two CPU cores for digits (estimated); on CIFAR-10 with `--epochs 25`, 8 to 11 minutes of a core
for each of the seven trials. Found there (docs/experiments.md, one seed): one learned variance has the smallest error
and a good ELBO without a search, and samples badly from N(0, I), where the fixed variance 1 samples 3 to 4.5 times
better for 3 % more error. With a fitted prior that difference is nearly gone. One variance per pixel has by far the
best ELBO but a larger squared error, because it weighs most those pixels that hardly vary. At unit variance and weight
1 half of the units collapse.
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
    cost="about a minute on two CPU cores (digits, estimated); about 40 minutes for cifar10 with --epochs 25",
)
