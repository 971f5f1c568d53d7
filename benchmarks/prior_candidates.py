"""Densities over codes that lost against a mixture: a normalising flow and a second-stage VAE.

`benchmarks.priors` compares them. Both are trained by gradient descent and stopped by held-out codes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Self, TypeVar, final

import torch
import torch.nn as nn
from torch import Tensor

from study.model.divergences import gaussian_kl
from study.model.layers import perceptron
from study.priors.density import LOG_TWO_PI, Density

STEPS, BATCH, LEARNING_RATE = 2_000, 256, 2e-3
CHECKS, PATIENCE = 40, 6
LAYERS, HIDDEN = 8, 128
LOG_SCALE = 2.0
"""Bound on a coupling's log scale. Without one a flow can blow up on few codes."""
BOUND_SAMPLES = 64
Trained = TypeVar("Trained", bound=Density)


def trained(
    density: Trained, objective: Callable[[Trained, Tensor], Tensor], train: Tensor, held_out: Tensor
) -> Trained:
    """Raises the mean objective of training codes; keeps the state with the highest on held-out codes."""
    optimizer = torch.optim.AdamW(density.parameters(), LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    best, best_score, waited = copy.deepcopy(density.state_dict()), -math.inf, 0
    for step in range(STEPS):
        batch = train[torch.randint(len(train), (min(BATCH, len(train)),))]
        optimizer.zero_grad()
        (-objective(density, batch).mean()).backward()
        nn.utils.clip_grad_norm_(density.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % (STEPS // CHECKS) == 0:
            with torch.no_grad():
                score = float(objective(density, held_out).mean())
            waited = 0 if score > best_score else waited + 1
            if score > best_score:
                best, best_score = copy.deepcopy(density.state_dict()), score
            if waited == PATIENCE:
                break
    density.load_state_dict(best)
    return density.requires_grad_(False)


@final
class Flow(Density):
    """Affine couplings that turn N(0, I) into the codes' density (RealNVP, Dinh et al. 1605.08803, §3).

    Args:
        units: r.
        layers: Couplings. Each changes one half of the units, given the other half and a rotation of both.
        hidden: Units of a hidden layer.
    """

    name = "flow"
    rotations: Tensor

    def __init__(self, units: int, layers: int, hidden: int) -> None:
        super().__init__()
        self.units, self.layers, self.hidden = units, layers, hidden
        self.kept = units // 2
        nets = [perceptron([self.kept, hidden, hidden, 2 * (units - self.kept)], nn.SiLU) for _ in range(layers)]
        for net in nets:  # begin as the identity
            for parameter in net[-1].parameters():
                nn.init.zeros_(parameter)
        self.nets = nn.ModuleList(nets)
        rotations = [torch.linalg.qr(torch.randn(units, units))[0] for _ in range(layers)]
        self.register_buffer("rotations", torch.stack(rotations))

    @classmethod
    def fit(cls, train: Tensor, held_out: Tensor, seed: int) -> Self:
        train, held_out = train.float(), held_out.float()
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            density = cls(train.shape[1], LAYERS, HIDDEN)
            return trained(density, Flow.log_prob, train, held_out)

    @property
    def sizes(self) -> dict[str, int]:
        return {"units": self.units, "layers": self.layers, "hidden": self.hidden}

    def _coupling(self, net: nn.Module, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = net(kept).chunk(2, dim=1)
        return LOG_SCALE * torch.tanh(log_scale / LOG_SCALE), shift

    def log_prob(self, u: Tensor) -> Tensor:
        x = u.to(self.rotations.dtype)
        total = x.new_zeros(len(x))
        for net, rotation in zip(self.nets, self.rotations, strict=True):
            x = x @ rotation
            kept, changed = x[:, : self.kept], x[:, self.kept :]
            log_scale, shift = self._coupling(net, kept)
            x = torch.cat([kept, changed * log_scale.exp() + shift], dim=1)
            total = total + log_scale.sum(dim=1)
        return total - (0.5 * x.square() + 0.5 * LOG_TWO_PI).sum(dim=1)

    def sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        like = self.rotations
        x = torch.randn((n, self.units), generator=generator, device=like.device, dtype=like.dtype)
        for net, rotation in zip(reversed(self.nets), like.flip(0), strict=True):
            kept, changed = x[:, : self.kept], x[:, self.kept :]
            log_scale, shift = self._coupling(net, kept)
            x = torch.cat([kept, (changed - shift) * (-log_scale).exp()], dim=1) @ rotation.T
        return x


@final
class SecondStage(Density):
    """A VAE of the codes with as many units as they have (two-stage VAE, Dai & Wipf 1903.05789, §4).

    Its decoder's variance is one learned number, as theirs is. Draws have that noise, since they are codes, not images.

    Args:
        units: r.
        hidden: Units of a hidden layer.
    """

    name = "second_stage"

    def __init__(self, units: int, hidden: int) -> None:
        super().__init__()
        self.units, self.hidden = units, hidden
        self.encoder = perceptron([units, hidden, hidden, 2 * units], nn.SiLU)
        self.decoder = perceptron([units, hidden, hidden, units], nn.SiLU)
        self.logvar = nn.Parameter(torch.zeros(()))

    @classmethod
    def fit(cls, train: Tensor, held_out: Tensor, seed: int) -> Self:
        train, held_out = train.float(), held_out.float()
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            return trained(cls(train.shape[1], HIDDEN), SecondStage._bound, train, held_out)

    @property
    def sizes(self) -> dict[str, int]:
        return {"units": self.units, "hidden": self.hidden}

    def _posterior(self, u: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(u).chunk(2, dim=1)
        return mu, logvar.clamp(-15, 10)

    def _log_likelihood(self, u: Tensor, z: Tensor) -> Tensor:
        logvar = self.logvar.clamp(min=-10)
        return -(0.5 * (u - self.decoder(z)).square() * (-logvar).exp() + 0.5 * logvar + 0.5 * LOG_TWO_PI).sum(-1)

    def _bound(self, u: Tensor) -> Tensor:
        mu, logvar = self._posterior(u)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
        return self._log_likelihood(u, z) - gaussian_kl(mu, logvar)

    def log_prob(self, u: Tensor) -> Tensor:
        """The importance-weighted bound with 64 draws (Burda et al. 1509.00519), from the same noise at every call."""
        return torch.cat([self._log_prob(part) for part in u.to(self.logvar.dtype).split(500)])

    def _log_prob(self, u: Tensor) -> Tensor:
        mu, logvar = self._posterior(u)
        generator = torch.Generator(u.device).manual_seed(0)
        noise = torch.randn((BOUND_SAMPLES, *mu.shape), generator=generator, device=u.device, dtype=u.dtype)
        z = mu + (0.5 * logvar).exp() * noise
        weights = self._log_likelihood(u, z) + 0.5 * (noise.square() + logvar - z.square()).sum(-1)
        return torch.logsumexp(weights, dim=0) - math.log(BOUND_SAMPLES)

    def sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        like = self.logvar
        shape = (2, n, self.units)
        z, noise = torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
        return self.decoder(z) + (0.5 * self.logvar.clamp(min=-10)).exp() * noise
