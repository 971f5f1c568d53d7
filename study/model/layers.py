"""Perceptrons, which networks and critics are made of."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch.nn as nn


def perceptron(sizes: list[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of the given sizes, with an activation between them but not at the end."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def latent_critic(latent_dim: int, hidden: int) -> nn.Module:
    """Logit that a code [B, d] was drawn from the prior, [B, 1]: four hidden layers (1711.01558, appendix)."""
    return perceptron([latent_dim, *[hidden] * 4, 1])
