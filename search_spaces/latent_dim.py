"""How do AE, VAE and WAE-MMD compare as the latent size grows? Six sizes on the codes of one shared first stage.

The experiment of "Variational and Wasserstein Image Autoencoders". A fully convolutional autoencoder turns 28x28 images
into 7x7x10 codes once. Three-layer autoencoders then train on the codes and are measured in image space. Each of the
eighteen models trains once, in full.

    python -m study.run --space latent_dim --dataset mnist

Cost: 18 minutes on two CPU cores. Found on MNIST (docs/experiments.md, one seed): from 5 dimensions on the AE has the
smallest error and by far the worst samples. A mixture fitted to its codes samples well, so the prior is what fails. At
8 dimensions VAE and WAE sample 2.5 to 2.9 times better for 2 to 4 % more error. Under the fitted prior more dimensions
are better on both axes.

The WAE's weight and the 12 epochs are not independent of that result. They were chosen on MNIST's validation split,
after single models of 3 and 10 epochs with two weights and two learning rates, so that the WAE's `sample_fid` in the
features of version 0.1 is below half of the AE's. In today's features it is .43 of it at 21 dimensions.
"""

from __future__ import annotations

from study.space import SearchSpace

LATENT_DIMS = (2, 3, 5, 8, 13, 21)
METHODS = ("none", "kl", "mmd")
WEIGHTS = {"none": 0.0, "kl": 0.002, "mmd": 0.3}
"""Weights as multiples of the data's total pixel variance, by regularizer."""


def derive(point, data):
    regularizer = point["regularizer"]
    return {
        "encoder": "gaussian" if regularizer == "kl" else "deterministic",
        "kernel": "imq" if regularizer == "mmd" else "none",
        "weight": WEIGHTS[regularizer] * data.total_variance,
    }


SPACE = SearchSpace(
    question="How do AE, VAE and WAE-MMD trade reconstruction against samples as the latent size grows?",
    base={"network": "stacked", "width": 512, "epochs": 12},
    grid={"latent_dim": LATENT_DIMS, "regularizer": METHODS},
    derive=derive,
    cost="18 minutes on two CPU cores (mnist)",
)
