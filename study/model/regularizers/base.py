"""The penalty on codes that stray from the prior N(0, I): R in `loss = D + w * m(t) * R`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn as nn
from torch import Tensor

from study.config import TrialConfig
from study.model.autoencoder import Autoencoder, Posterior


class Regularizer(nn.Module, ABC):
    """A penalty on a batch of codes, in its own unit and without the weight. It is built from a trial's config.

    One class, built in or of a space's own, says everything about itself. What its `__init__` takes beside the config,
    with a type and a default, are its hyperparameters.

    Attributes:
        name: What `regularizer` is called in trials.
        ranges: Least and largest value of hyperparameters, if they have any.
        methods: Encoder it goes with -> name of the method.
        styles: Method -> (colour, marker) in figures; methods without get some that their name leads to.
        weight_range: Weights worth searching, as multiples of the data's total pixel variance: from the weight whose
            codes or samples first differ from a plain autoencoder's to about twice its error, or posterior collapse.
        first_weight: A good weight to begin with, as such a multiple.
        uses_kernel: Whether a trial must name a `kernel` with it.
        is_kl: Whether it is the KL divergence of each posterior to the prior. Then its weight stands for the
            likelihood's variance, at which the ELBO is measured.
        is_made_for_normal: Whether it shapes codes for draws from N(0, I).
    """

    kind: ClassVar[str] = "regularizer"
    name: ClassVar[str]
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    methods: ClassVar[Mapping[str, str]] = {}
    styles: ClassVar[Mapping[str, tuple[str, str]]] = {}
    weight_range: ClassVar[tuple[float, float] | None] = None
    first_weight: ClassVar[float | None] = None
    uses_kernel: ClassVar[bool] = False
    is_kl: ClassVar[bool] = False
    is_made_for_normal: ClassVar[bool] = True

    def __init__(self, *config: TrialConfig) -> None:
        """Takes the config or nothing: most penalties need none of it."""
        super().__init__()

    @abstractmethod
    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        """The penalty of a batch.

        Args:
            model: The autoencoder, for penalties on its parameters.
            posterior: The batch's posterior, [B, d].
            z: The codes that the decoder saw, [B, d]: the posterior's draws or means.
            generator: Source of prior draws, on z's device.

        Returns:
            0-dim.
        """


class CriticRegularizer(Regularizer, ABC):
    """A penalty that a critic gives. After each step of the autoencoder, the critic takes one on its own loss.

    Attributes:
        critic: A network with an optimiser of its own. The penalty must pass it no gradient.
    """

    critic: nn.Module

    @abstractmethod
    def critic_loss(self, z: Tensor, generator: torch.Generator | None) -> Tensor:
        """The critic's loss.

        Args:
            z: Codes, [B, d]. They must receive no gradient.
            generator: Source of prior draws, on z's device.

        Returns:
            0-dim.
        """


def draw_prior(z: Tensor, generator: torch.Generator | None) -> Tensor:
    """As many draws from N(0, I) as there are codes, [B, d]."""
    return torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
