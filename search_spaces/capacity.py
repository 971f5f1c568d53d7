"""Does a decoder of low capacity protect a VAE from posterior collapse? Three networks at two weights.

The last experiment of "Variational Autoencoder" replaces a convolutional network with one of 500 units and finds the
collapse gone (after Chen et al., arXiv 1611.02731). There encoder and decoder change together. Here a third network,
the convolutional encoder with the 500-unit decoder, separates the two effects.

    python -m study.run --space capacity --dataset mnist

Cost: 7 minutes on two CPU cores. Found on MNIST (docs/experiments.md): it does not. All three networks keep their units
at weight 1 and lose them at weight 4. At the learning rate 1e-3 the convolutional network seems to collapse already at
weight 1, but it has died; see `annealing`.
"""

from __future__ import annotations

from study.space import SearchSpace

NETWORKS = ("conv_64", "conv_64_mlp", "mlp_500")
MULTIPLES = (0.019, 0.076)
"""Weights as multiples of the data's total pixel variance. On MNIST they are 1 and 4."""


def weights(data):
    return [multiple * data.total_variance for multiple in MULTIPLES]


SPACE = SearchSpace(
    question="Does a decoder of low capacity protect against posterior collapse?",
    base={
        "encoder": "gaussian",
        "regularizer": "kl",
        "latent_dim": 32,
        "batch_size": 64,
        "learning_rate": 3e-4,  # see `search_spaces.annealing.LEARNING_RATES`
        "epochs": 4,
    },
    grid={"weight": weights, "network": NETWORKS},
    num_trials=6,
    cost="7 minutes on two CPU cores (mnist)",
)
