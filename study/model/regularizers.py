"""The penalty on codes that stray from the prior N(0, I): R in `loss = D + w * m(t) * R`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, final

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from study.config import TrialConfig, UserError
from study.model.autoencoder import Autoencoder, Posterior
from study.model.divergences import KERNELS, gaussian_kl, sliced_wasserstein, squared_mmd
from study.model.networks import latent_critic

CRITIC_WIDTH = 128
GRADIENT_PENALTY = 1.0
SLICES = 50
INFO_MMD = 10.0
DECODER_DECAY = 1e-3


class Regularizer(nn.Module, ABC):
    """A penalty on a batch of codes, in its own unit and without the weight. It is built from a trial's config.

    A component of a space's own derives from it and says the rest about itself. What its `__init__` takes beside the
    config, with a type and a default, are its hyperparameters.

    Attributes:
        name: What `regularizer` is called in trials.
        methods: Encoder it goes with -> name of the method.
        weight_range: Weights worth searching, as multiples of the data's total pixel variance.
        is_made_for_normal: Whether it shapes codes for draws from N(0, I).
    """

    kind: ClassVar[str] = "regularizer"
    name: ClassVar[str]
    methods: ClassVar[Mapping[str, str]] = {}
    weight_range: ClassVar[tuple[float, float]]
    is_made_for_normal: ClassVar[bool] = True

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


@final
class NoPenalty(Regularizer):
    """Zero: a plain autoencoder."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        return z.new_zeros(())


@final
class KL(Regularizer):
    """KL divergence of each posterior to the prior, nats per image (VAE, 1312.6114; its weight is the β of β-VAE)."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        _require_gaussian(config)

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        assert posterior.logvar is not None
        return gaussian_kl(posterior.mu, posterior.logvar).mean()


@final
class MMD(Regularizer):
    """Unbiased squared MMD between a batch's codes and as many prior draws (WAE-MMD, 1711.01558, algorithm 2)."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        self.kernel = _require_kernel(config)

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        return squared_mmd(z, draw_prior(z, generator), self.kernel)


@final
class Adversarial(CriticRegularizer):
    """How sure a critic is that codes are not draws from the prior, nats (WAE-GAN, 1711.01558, algorithm 1).

    It is the non-saturating -log p(prior | z).
    """

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        self.critic = latent_critic(config.latent_dim, CRITIC_WIDTH)

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
        return guess + 0.5 * GRADIENT_PENALTY * slope.square().sum(dim=1).mean()


@final
class SlicedWasserstein(Regularizer):
    """Squared sliced Wasserstein distance between a batch's codes and as many prior draws (SWAE, 1804.01947)."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        directions = torch.randn((z.shape[1], SLICES), generator=generator, device=z.device, dtype=z.dtype)
        return sliced_wasserstein(z, draw_prior(z, generator), F.normalize(directions, dim=0))


@final
class InfoVAE(Regularizer):
    """KL + 10 squared MMD, nats per image: eq. 6 of 1706.02262 with α = 0 and λ = 11.

    One weight scales both. On its own the MMD is best at about thirty times the KL's weight (`GOOD_WEIGHTS` in
    `search_spaces/method.py`), so the factor brings both to one order of magnitude.
    """

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        _require_gaussian(config)
        self.kernel = _require_kernel(config)

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        assert posterior.logvar is not None
        mmd = squared_mmd(z, draw_prior(z, generator), self.kernel)
        return gaussian_kl(posterior.mu, posterior.logvar).mean() + INFO_MMD * mmd


@final
class RAEL2(Regularizer):
    """Half the squared length of the code, plus weight decay on the decoder (RAE-L2, 1903.12436, eq. 11).

    Without the decay a decoder compensates for smaller codes with larger weights.
    """

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        decay = torch.stack([parameter.square().sum() for parameter in model.decoder.parameters()]).sum()
        return 0.5 * z.square().sum(dim=1).mean() + DECODER_DECAY * 0.5 * decay


def _require_gaussian(config: TrialConfig) -> None:
    if config.encoder != "gaussian":
        raise UserError(f"regularizer={config.regularizer} needs encoder=gaussian")


def _require_kernel(config: TrialConfig) -> str:
    if config.kernel not in KERNELS:
        raise UserError(f"kernel={config.kernel!r}: regularizer {config.regularizer} needs {' or '.join(KERNELS)}")
    return config.kernel


def build_regularizer(config: TrialConfig) -> Regularizer:
    """The regularizer that a trial names.

    Raises:
        UserError: `regularizer` is neither in `REGULARIZERS` nor a component of the space, or encoder or kernel do not
            suit it.
    """
    if (own := config.build_own("regularizer", config)) is not None:
        if own.methods and config.encoder not in own.methods:
            raise UserError(f"regularizer={config.regularizer} needs encoder={' or '.join(own.methods)}")
        return own
    if config.regularizer not in REGULARIZERS:
        raise UserError(
            f"regularizer={config.regularizer!r}: choose from {config.choices('regularizer', REGULARIZERS)}"
        )
    return REGULARIZERS[config.regularizer](config)


REGULARIZERS: dict[str, Callable[[TrialConfig], Regularizer]] = {
    "none": NoPenalty,
    "kl": KL,
    "mmd": MMD,
    "adversarial": Adversarial,
    "sliced_wasserstein": SlicedWasserstein,
    "info_vae": InfoVAE,
    "rae_l2": RAEL2,
}
