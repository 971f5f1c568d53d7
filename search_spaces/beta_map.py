"""What does the weight of the KL do to the map of a two-dimensional latent space? Three decades of weights at d=2.

Kingma and Welling, VAE (ICLR 2014); Higgins et al., beta-VAE (ICLR 2017). With d=2 the codes are a map that can be
drawn as it is. The weight is a multiple of the data's total variance, so that it means the same on other data.

    python -m study.run --space beta_map --dataset fashion_mnist

Cost: about ten minutes on two CPU cores for Fashion-MNIST. Expected: small weights spread the codes far beyond the
prior, with gaps between the classes that decode to nothing known; large weights pull all codes into the prior until
classes lie on each other. `python -m analysis.latent_scatter --study beta_map-fashion_mnist` draws the maps beside the
prior, `python -m study.traverse` a path on one of them with its images.
"""

from __future__ import annotations

from study.space import SearchSpace

MULTIPLES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
"""Weights in multiples of the total variance: three decades around .003, where calibrated VAEs lie."""


def weights(data):
    return [multiple * data.total_variance for multiple in MULTIPLES]


SPACE = SearchSpace(
    question="How does the weight of the KL change the map of a two-dimensional latent space?",
    base={"encoder": "gaussian", "regularizer": "kl", "latent_dim": 2},
    grid={"weight": weights},
    num_trials=len(MULTIPLES),
    cost="about ten minutes on two CPU cores (Fashion-MNIST)",
)
