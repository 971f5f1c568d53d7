"""What a code pays for straying from the prior N(0, I): R in `loss = D + w * m(t) * R`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import torch
import torch.nn as nn
from torch import Tensor

from study.config import TrialConfig, UserError
from study.model.autoencoder import Autoencoder, Posterior
from study.model.divergences import KERNELS, gaussian_kl, squared_mmd


class Regularizer(nn.Module, ABC):
    """A penalty on a batch of codes, in its own unit, without the weight. Built from a trial's config."""

    @abstractmethod
    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        """The penalty of a batch.

        Args:
            model: The autoencoder, for penalties on its parameters.
            posterior: Of the batch, [B, d].
            z: The codes the decoder saw, [B, d]: the posterior's draws, or its means.
            generator: Source of prior draws, on z's device.

        Returns:
            0-dim.
        """


def draw_prior(z: Tensor, generator: torch.Generator | None) -> Tensor:
    """As many draws from N(0, I) as there are codes, [B, d]."""
    return torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)


@final
class NoPenalty(Regularizer):
    """Zero: a plain autoencoder."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        return z.new_zeros(())


@final
class KL(Regularizer):
    """KL divergence of each posterior to the prior, nats per image (VAE, 1312.6114; its weight is β, β-VAE)."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        _require_gaussian(config)

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        assert posterior.logvar is not None
        return gaussian_kl(posterior.mu, posterior.logvar).mean()


@final
class MMD(Regularizer):
    """Unbiased squared MMD of the batch's codes to as many draws from the prior (WAE-MMD, 1711.01558, algorithm 2)."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        self.kernel = _require_kernel(config)

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        return squared_mmd(z, draw_prior(z, generator), self.kernel)


def _require_gaussian(config: TrialConfig) -> None:
    if config.encoder != "gaussian":
        raise UserError(f"regularizer={config.regularizer}: it needs encoder=gaussian")


def _require_kernel(config: TrialConfig) -> str:
    if config.kernel not in KERNELS:
        raise UserError(f"kernel={config.kernel!r}: regularizer {config.regularizer} needs {' or '.join(KERNELS)}")
    return config.kernel


def build_regularizer(config: TrialConfig) -> Regularizer:
    """The regularizer a trial asks for.

    Raises:
        UserError: `regularizer` is not a name in `REGULARIZERS`, or encoder or kernel do not suit it.
    """
    if config.regularizer not in REGULARIZERS:
        raise UserError(f"regularizer={config.regularizer!r}: choose from {', '.join(REGULARIZERS)}")
    return REGULARIZERS[config.regularizer](config)


REGULARIZERS: dict[str, Callable[[TrialConfig], Regularizer]] = {
    "none": NoPenalty,
    "kl": KL,
    "mmd": MMD,
}
