"""A prior that was fitted to the codes of a model. `study.priors.choosing` fits one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

import torch
import torch.nn as nn
from torch import Tensor

from study.priors.density import Density
from study.priors.mixture import Mixture
from study.priors.normal import Normal

DENSITIES: dict[str, Callable[..., Density]] = {
    "gaussian": Normal,
    "mixture": Mixture,
}
"""Every density by kind."""


@final
class FittedPrior(nn.Module):
    """A density of codes [n, d]: `mean + u @ basis`, where u [n, r] has a density of `DENSITIES`.

    Args:
        units: d.
        rank: r.
        density: Over r whitened units; None if r is 0, that is, if all codes are equal.

    Attributes:
        mean: [d].
        basis: [r, d], the directions in which codes vary, each as long as their deviation there.
        density: As given.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, units: int, rank: int, density: Density | None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("basis", torch.zeros(rank, units))
        self.density = density

    @property
    def description(self) -> dict[str, Any]:
        """What `described` needs to make a prior of this shape: plain values, ready for JSON."""
        rank, units = self.basis.shape
        kind, sizes = (None, {}) if self.density is None else (self.density.kind, self.density.sizes)
        return {"units": units, "rank": rank, "kind": kind, "sizes": sizes}

    def record(self) -> dict[str, Any]:
        """All of it, for a checkpoint: `from_record` reads it back."""
        return {**self.description, "state": self.state_dict()}

    @property
    def components(self) -> int:
        """Gaussians in it; 0 if all codes are equal."""
        return 0 if self.density is None else self.density.sizes.get("components", 1)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes, [n, d]."""
        if self.density is None:
            return self.mean.expand(n, -1).clone()
        return self.mean + self.density.sample(n, generator) @ self.basis


def described(units: int, rank: int, kind: str | None, sizes: dict[str, int]) -> FittedPrior:
    """A prior of the shape of another one's `description`, to load that one's state into."""
    return FittedPrior(units, rank, None if kind is None else DENSITIES[kind](**sizes))


def from_record(record: Mapping[str, Any]) -> FittedPrior:
    """The prior whose `record` this is."""
    shape = {name: value for name, value in record.items() if name != "state"}
    prior = described(**shape)
    prior.load_state_dict(record["state"])
    return prior.eval().requires_grad_(False)
