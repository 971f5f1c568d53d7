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
"""Every built-in density by name."""
NO_DENSITIES: Mapping[str, Callable[..., Density]] = {}


@final
class FittedPrior(nn.Module):
    """A density of codes [n, d]: `mean + u @ basis`, where u [n, r] has the density.

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
        kind, sizes = (None, {}) if self.density is None else (self.density.name, self.density.sizes)
        return {"units": units, "rank": rank, "kind": kind, "sizes": sizes}

    def record(self) -> dict[str, Any]:
        """All of it, for a checkpoint: `from_record` reads it back."""
        return {**self.description, "state": self.state_dict()}

    @property
    def components(self) -> int:
        """Gaussians in it, or what an own density calls so (else 1); 0 if all codes are equal."""
        return 0 if self.density is None else self.density.sizes.get("components", 1)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes, [n, d]."""
        if self.density is None:
            return self.mean.expand(n, -1).clone()
        return self.mean + self.density.sample(n, generator) @ self.basis


def described(
    units: int,
    rank: int,
    kind: str | None,
    sizes: dict[str, Any],
    own: Mapping[str, Callable[..., Density]] = NO_DENSITIES,
) -> FittedPrior:
    """A prior of the shape of another one's `description`, to load that one's state into.

    Args:
        units: As of `FittedPrior`.
        rank: As of `FittedPrior`.
        kind: The density's name; None if there is none.
        sizes: As of the density.
        own: Densities of the space's own, by name.
    """
    return FittedPrior(units, rank, None if kind is None else {**DENSITIES, **own}[kind](**sizes))


def from_record(record: Mapping[str, Any], own: Mapping[str, Callable[..., Density]] = NO_DENSITIES) -> FittedPrior:
    """The prior whose `record` this is; `own` as of `described`."""
    shape = {name: value for name, value in record.items() if name != "state"}
    prior = described(**shape, own=own)
    prior.load_state_dict(record["state"])
    return prior.eval().requires_grad_(False)


def placed(mean: Tensor, basis: Tensor, density: Density | None) -> FittedPrior:
    """The prior of a density of whitened codes, float32; mean [d] and basis [r, d] as of `FittedPrior`."""
    prior = FittedPrior(len(mean), len(basis), density)
    prior.mean, prior.basis = mean, basis
    # Built again from its record, its tensors have a loaded prior's memory layout, so both draw identical bits.
    return from_record(prior.float().record(), {} if density is None else {density.name: type(density)})
