"""The autoencoder: one class for every method."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn as nn
from torch import Tensor

from study.config import DataSummary, TrialConfig, UserError
from study.model.likelihoods.base import Likelihood
from study.model.stacked import FirstStage
from study.priors.fitted import FittedPrior

LOGVAR_MIDDLE, LOGVAR_REACH = -5.0, 15.0
"""A tanh keeps the encoder's log variance inside (-20, 10). Below, a deviation (4.5e-5) is lost in float32 beside a
code of size 1; above, exp overflows within a few steps of a bad start. A hard clamp would pass no gradient back from
outside, and a posterior that shrank while the weight was still zero could not widen again."""


class Posterior(NamedTuple):
    """The code of a batch: N(mu, diag exp(logvar)), or the point mu.

    Attributes:
        mu: [B, d].
        logvar: [B, d]; None for a deterministic encoder.
    """

    mu: Tensor
    logvar: Tensor | None

    def sample(self, generator: torch.Generator | None) -> Tensor:
        """z [B, d] by reparametrisation (Kingma & Welling 1312.6114, §2.4), or `mu` if the encoder is deterministic."""
        if self.logvar is None:
            return self.mu
        noise = torch.randn(self.mu.shape, generator=generator, device=self.mu.device, dtype=self.mu.dtype)
        return self.mu + (0.5 * self.logvar).exp() * noise


class Autoencoder(nn.Module):
    """Encoder, decoder and likelihood. Images are float [B, C, H, W] in [0, 1], codes float [B, d].

    Call `eval()` before measuring: networks with batch normalisation need it.

    Attributes:
        config: The trial it was built from.
        summary: The data set it was built for.
        latent_dim: Size of the code, d.
        first_stage: For `stacked`, the frozen autoencoder whose codes the encoder reads; None otherwise.
        prior: The prior that was fitted to its codes after training; None before.
        adapted_weight: For a trial with a `target_error`, the w that training came to, 0-dim. Other models have none.
    """

    adapted_weight: Tensor

    def __init__(
        self,
        config: TrialConfig,
        summary: DataSummary,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        first_stage: FirstStage | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.summary = summary
        self.latent_dim = config.latent_dim
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.first_stage = first_stage
        self.prior: FittedPrior | None = None
        if config.target_error:
            self.register_buffer("adapted_weight", torch.tensor(config.weight))

    @property
    def code_map(self) -> tuple[int, int, int] | None:
        """Channels, height and width of the code, if it is a map: `z.unflatten(1, code_map)`; else None."""
        return self.config.code_map(self.summary)

    def posterior(self, x: Tensor) -> Posterior:
        """The posterior of what the encoder reads: images [B, C, H, W], or the first stage's codes for `stacked`."""
        return self.posterior_of(self.encoder(x))

    def posterior_of(self, outputs: Tensor) -> Posterior:
        """The posterior that the encoder's outputs describe, [B, d] or, of a `gaussian` encoder, [B, 2d]."""
        if self.config.encoder == "deterministic":
            return Posterior(outputs, None)
        mu, logvar = outputs.chunk(2, dim=1)  # [B, d] each
        logvar = LOGVAR_MIDDLE + LOGVAR_REACH * torch.tanh((logvar - LOGVAR_MIDDLE) / LOGVAR_REACH)
        return Posterior(mu, logvar)

    def encode(self, x: Tensor) -> Posterior:
        """The posterior of images [B, C, H, W]."""
        return self.posterior(self.inputs(x))

    def decode(self, z: Tensor) -> Tensor:
        """Mean images of codes [B, d]: [B, C, H, W] in [0, 1]."""
        raw = self.decoder(z)
        if self.first_stage:
            # The likelihoods allowed here give the mean in their first maps. It is a code, so it is not clipped.
            return self.first_stage.decode(raw[:, : self.first_stage.summary.channels])
        return self.likelihood.mean(raw)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """The decoded posterior means of images, [B, C, H, W] in [0, 1], without randomness."""
        return self.decode(self.encode(x).mu)

    @torch.no_grad()
    def unexplained(self, x: Tensor) -> Tensor:
        """Squared error per image of a batch, as a share of the data's total variance: 0-dim.

        Args:
            x: What the encoder reads: images [B, C, H, W], or the first stage's codes for `stacked`.
        """
        raw = self.decoder(self.posterior(x).mu)
        mean = raw[:, : x.shape[1]] if self.first_stage else self.likelihood.mean(raw)
        return (mean - x).square().sum() / (len(x) * self.summary.total_variance)

    @property
    def default_prior(self) -> str:
        """What to draw codes from: `fitted` if the method does not shape codes for N(0, I), else `normal`."""
        return "fitted" if self.prior is not None and not self.config.is_made_for_normal else "normal"

    @torch.no_grad()
    def sample_codes(self, n: int, generator: torch.Generator | None = None, prior: str | None = None) -> Tensor:
        """n codes from `normal`, which is N(0, I), or from the `fitted` prior: [n, d]; by default `default_prior`.

        Raises:
            UserError: There is no such prior, or none was fitted to this model.
        """
        parameter = next(self.parameters())
        chosen = prior or self.default_prior
        if chosen == "normal":
            shape = (n, self.latent_dim)
            return torch.randn(shape, generator=generator, device=parameter.device, dtype=parameter.dtype)
        if chosen != "fitted":
            raise UserError(f"prior={chosen!r}: choose from normal, fitted")
        if self.prior is None:
            raise UserError("no prior was fitted to this model's codes: draw from prior=normal")
        return self.prior.sample(n, generator)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        *,
        prior: str | None = None,
        draw: bool = False,
    ) -> Tensor:
        """Images of n codes from a prior, [n, C, H, W] in [0, 1].

        Args:
            n: Number of images.
            generator: Source of randomness on the model's device; torch's global one if None.
            prior: `normal`, which is N(0, I), or `fitted`; by default `default_prior`.
            draw: Return draws from p(x|z), with their pixel noise, instead of its means. Where `likelihood_scale` is
                None, the noise has unit scale.

        Raises:
            UserError: There is no such prior; or `draw` on a `stacked` model, which has no likelihood of pixels.
        """
        if draw and self.first_stage:
            name = self.config.network
            raise UserError(f"network={name} has no likelihood of pixels: ask for means instead of draws")
        z = self.sample_codes(n, generator, prior)
        return (
            self.likelihood.draw(self.decoder(z), generator, self.likelihood_scale or 1.0) if draw else self.decode(z)
        )

    @torch.no_grad()
    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int) -> Tensor:
        """Images decoded along straight lines between the codes of pairs [B, C, H, W]: [steps, B, C, H, W]."""
        return self.latent_path(self.encode(x_a).mu, self.encode(x_b).mu, steps)

    @torch.no_grad()
    def latent_path(self, start: Tensor, end: Tensor, steps: int) -> Tensor:
        """Images decoded along straight lines from codes `start` to codes `end` [B, d]: [steps, B, C, H, W]."""
        share = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype)[:, None, None]
        path = torch.lerp(start, end, share)  # [steps, B, d]
        return self.decode(path.flatten(0, 1)).unflatten(0, path.shape[:2])

    @torch.no_grad()
    def class_direction(self, x: Tensor, labels: Tensor, target: int) -> Tensor:
        """Unit vector [d] from the mean code of all other classes to the mean code of class `target`.

        Args:
            x: Images [N, C, H, W] of the training split.
            labels: Integers, [N].
            target: A class that some of the images have, but not all.

        Raises:
            ValueError: No image, or every image, is of that class.
        """
        return class_direction(self.encode(x).mu, labels, target)

    @torch.no_grad()
    def morph(self, z: Tensor, direction: Tensor, distance: float, steps: int) -> Tensor:
        """Images of codes [B, d] as they move from 0 to `distance` along `direction` [d]: [steps, B, C, H, W]."""
        return self.latent_path(z, z + distance * direction, steps)

    def inputs(self, x: Tensor) -> Tensor:
        """What the encoder reads: the images [B, C, H, W] themselves, or the first stage's codes for `stacked`."""
        return self.first_stage.encode(x) if self.first_stage else x

    @property
    def has_density(self) -> bool:
        """Whether `likelihood_scale` is known, so that p(x|z) is a density."""
        return self.likelihood.scale_nats is None or (self.config.trains_kl and self.config.weight > 0)

    @property
    def likelihood_scale(self) -> float | None:
        """The scale s of p(x|z) ∝ exp(-D / s) that the model was trained with: a variance for `gaussian`.

        D + w KL is w times the negative ELBO of a decoder with s = w, constants aside (σ-VAE, 2006.13202, §3). So s is
        the KL's full weight, or the one that training came to. Learned variances, and `bernoulli`, need no s: it is 1.
        Otherwise it is None, because the weight of another regularizer says nothing about the noise, and a weight of 0
        leaves no noise.
        """
        if not self.has_density:
            return None
        if self.likelihood.scale_nats is None:
            return 1.0
        return float(self.adapted_weight) if self.config.target_error else self.config.weight

    def distortion(self, x: Tensor, z: Tensor) -> Tensor:
        """D of x = `inputs(images)` at codes z [B, d], without perceptual and total-variation terms: [B], nats."""
        return self.likelihood.cost(self.decoder(z), x)

    def log_density(self, distortion: Tensor) -> Tensor:
        """log p(x|z) of images whose `distortion` is given, at `likelihood_scale`, constants included: nats, float64.

        For `stacked` it is the density of the first stage's codes, not of the pixels.

        Raises:
            ValueError: `likelihood_scale` is None.
        """
        if self.likelihood_scale is None:
            raise ValueError("the likelihood's scale is not known: only a KL's weight above 0 says it")
        shape = self.first_stage.summary.shape if self.first_stage else self.summary.shape
        return self.likelihood.log_density(distortion, math.prod(shape), self.likelihood_scale)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """`log_density` of x = `inputs(images)` at codes z [B, d]: [B], nats, float64."""
        return self.log_density(self.distortion(x, z))


def class_direction(codes: Tensor, labels: Tensor, target: int) -> Tensor:
    """`Autoencoder.class_direction` of images that are already encoded, as codes [N, d]."""
    inside = labels == target
    if not inside.any() or inside.all():
        raise ValueError(f"class {target}: give images of this class and of others")
    return nn.functional.normalize(codes[inside].mean(dim=0) - codes[~inside].mean(dim=0), dim=0)


def undecayed(model: Autoencoder) -> list[nn.Parameter]:
    """The parameters that weight decay leaves alone: biases, the factors of normalisations, and learned variances.

    A smaller weight makes a smoother function. A smaller bias does not, and a log variance that decays to 0 would draw
    the variance to 1.
    """
    networks = [*model.encoder.parameters(), *model.decoder.parameters()]
    return [*model.likelihood.parameters(), *(parameter for parameter in networks if parameter.ndim < 2)]
