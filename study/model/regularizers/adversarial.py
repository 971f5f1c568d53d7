"""A critic that tells codes from draws from the prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor

from study.config import TrialConfig
from study.model.autoencoder import Autoencoder, Posterior
from study.model.layers import latent_critic
from study.model.regularizers.base import CriticRegularizer, draw_prior


@final
class Adversarial(CriticRegularizer):
    """How sure a critic is that codes are not draws from the prior, nats (WAE-GAN, 1711.01558, algorithm 1).

    It is the non-saturating -log p(prior | z).
    """

    name: ClassVar[str] = "adversarial"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"width": (1, 8192), "gradient_penalty": (0, 1e6)}
    methods: ClassVar[Mapping[str, str]] = {"deterministic": "WAE-GAN", "gaussian": "WAE-GAN Gaussian"}
    styles: ClassVar[Mapping[str, tuple[str, str]]] = {
        "WAE-GAN": ("#009E73", "P"),
        "WAE-GAN Gaussian": ("#009E73", "X"),
    }
    weight_range: ClassVar[tuple[float, float]] = (3e-3, 10.0)
    first_weight: ClassVar[float] = 0.3

    def __init__(self, config: TrialConfig, width: int = 128, gradient_penalty: float = 1.0) -> None:
        super().__init__(config)
        self.critic = latent_critic(config.latent_dim, width)
        self.gradient_penalty = gradient_penalty

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        frozen = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        return F.softplus(-torch.func.functional_call(self.critic, frozen, (z,))).mean()

    def critic_loss(self, z: Tensor, generator: torch.Generator | None) -> Tensor:
        """The critic's loss: it must tell codes from as many draws from the prior, under a gradient penalty.

        The penalty (zero-centred, on both samples: Mescheder et al. 1801.04406, §4.1) keeps the critic smooth. Without
        it the critic wins even at useful weights, and the codes run away from the prior.

        Args:
            z: Codes, [B, d]. They receive no gradient.
            generator: Source of prior draws, on z's device.

        Returns:
            0-dim, nats; log 2 if the critic cannot tell them apart.
        """
        points = torch.cat([draw_prior(z, generator), z.detach()]).requires_grad_()  # [2B, d]
        logits = self.critic(points)  # [2B, 1]
        real, fake = logits.chunk(2)
        (slope,) = torch.autograd.grad(logits.sum(), points, create_graph=True)  # [2B, d]
        guess = 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())
        return guess + 0.5 * self.gradient_penalty * slope.square().sum(dim=1).mean()
