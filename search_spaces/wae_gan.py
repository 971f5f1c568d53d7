"""Does a critic on the codes (WAE-GAN) do as well as an MMD (WAE-MMD)? Both are compared with the plain AE.

Tolstikhin et al., Wasserstein Auto-Encoders (arXiv 1711.01558), algorithms 1 and 2, with eight latent units and three
seeds each.

    python -m study.run --space wae_gan --dataset mnist

Cost: 7 minutes on two CPU cores. Found on MNIST (docs/experiments.md): all nine runs finish. Both methods bring the
codes' MMD to the prior below a thirtieth of the plain AE's, and sample 1.8 (MMD) and 2.3 times (critic) better from
N(0, I) at about the same error. From a fitted prior, the critic's models sample worst.
"""

from __future__ import annotations

from study.space import SearchSpace

MULTIPLES = {"none": 0.0, "mmd": 0.3, "adversarial": 0.3}
"""Weights as multiples of the data's total pixel variance, by regularizer."""
SEEDS = (0, 1, 2)


def derive(point, data):
    regularizer = point["regularizer"]
    return {
        "kernel": "imq" if regularizer == "mmd" else "none",
        "weight": MULTIPLES[regularizer] * data.total_variance,
    }


SPACE = SearchSpace(
    question="Does a critic on the codes match the prior as well as an MMD, as stably, and with as good samples?",
    base={"encoder": "deterministic", "latent_dim": 8},
    grid={"seed": SEEDS, "regularizer": tuple(MULTIPLES)},
    derive=derive,
    cost="7 minutes on two CPU cores (mnist)",
)
