"""A minimal training loop in plain PyTorch, with which our trainer must agree in results and compete in speed.

A step is one gather, forward, loss, backward and torch.optim's fused Adam. The loop shares only three things with the
product: the networks, so that both train the same model; the MMD, whose explicit gradient is faster than autograd; and
the processor's mode that flushes denormal numbers to zero. It draws random numbers in the trainer's order, so both end
with the same parameters (tests/training/test_equality.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from study.config import TrialConfig
from study.data.datasets import ImageData
from study.model.autoencoder import LOGVAR_MIDDLE, LOGVAR_REACH
from study.model.building import build_autoencoder
from study.model.divergences import squared_mmd
from study.model.layers import latent_critic
from study.training.loop import CRITIC_BETAS
from study.training.scopes import denormals_flushed

CRITIC_WIDTH, GRADIENT_PENALTY = 128, 1.0
"""What `adversarial` has by default."""


class BareLoop:
    """AE, VAE, WAE-MMD or WAE-GAN with a Gaussian likelihood, a constant weight and learning rate, on one thread.

    Args:
        config: The trial.
        data: The data set.
        codes: With `network=stacked`, the encoder's input in place of images.
    """

    def __init__(self, config: TrialConfig, data: ImageData, codes: Tensor | None = None) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = build_autoencoder(config, data.summary)
            self.critic = latent_critic(config.latent_dim, CRITIC_WIDTH)
        self.encoder, self.decoder = model.encoder, model.decoder
        self.inputs = data.train.images.float() / 255 if codes is None else codes
        self.config = config
        self.generator = torch.Generator().manual_seed(config.seed)
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
        self.critic_optimizer = torch.optim.Adam(
            self.critic.parameters(), lr=config.learning_rate, betas=CRITIC_BETAS, fused=True
        )

    @denormals_flushed()
    def epoch(self) -> None:
        """One pass over the inputs, without the last, smaller batch."""
        order = torch.randperm(len(self.inputs), generator=self.generator)
        size = self.config.batch_size
        for start in range(0, len(order) - size + 1, size):
            self.step(self.inputs[order[start : start + size]])

    def step(self, x: Tensor) -> None:
        """One step on inputs [B, C, H, W]."""
        z, penalty = self._encode(x)
        loss = 0.5 * (x - self.decoder(z)).square().sum() / len(x) + self.config.weight * penalty
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.config.regularizer == "adversarial":
            self.critic_optimizer.zero_grad(set_to_none=True)
            self._critic_loss(z.detach()).backward()
            self.critic_optimizer.step()

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        if self.config.regularizer == "kl":
            mu, logvar = self.encoder(x).chunk(2, dim=1)
            logvar = LOGVAR_MIDDLE + LOGVAR_REACH * torch.tanh((logvar - LOGVAR_MIDDLE) / LOGVAR_REACH)
            divergence = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum() / len(x)
            return mu + (0.5 * logvar).exp() * self._normal(mu), divergence
        z = self.encoder(x)
        if self.config.regularizer == "mmd":
            return z, squared_mmd(z, self._normal(z), self.config.kernel)
        if self.config.regularizer == "adversarial":
            self.critic.requires_grad_(False)
            guess = F.softplus(-self.critic(z)).mean()
            self.critic.requires_grad_(True)
            return z, guess
        return z, 0.0

    def _critic_loss(self, z: Tensor) -> Tensor:
        points = torch.cat([self._normal(z), z]).requires_grad_()
        logits = self.critic(points)
        (slope,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
        real, fake = logits.chunk(2)
        guess = 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())
        return guess + 0.5 * GRADIENT_PENALTY * slope.square().sum(dim=1).mean()

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator)
