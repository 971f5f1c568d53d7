"""A mixture of Gaussians."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from typing import Self, TypeVar, final

import torch
from torch import Tensor

from study.priors.density import LOG_TWO_PI, Density

Found = TypeVar("Found")
COMPONENTS = (10, 20, 40, 80)
CODES_PER_COMPONENT = 20
LEAST_VARIANCES = (0.02, 0.004, 0.0008)
"""Added to every variance, beside the 1 that whitened codes have. Without it many components overfit: held-out codes
then allow only ten, where twenty or forty give better samples (`benchmarks.priors`)."""


MOST_UNITS = 64
"""Fitting full covariances takes time and codes that grow with the square of the units."""


@final
class Mixture(Density):
    """Gaussians with full covariances (the "ex-post" density of Ghosh et al. 1903.12436, §4, whose number is ten).

    Of more than `MOST_UNITS` units, the last ones (in which codes vary most) have the mixture, the others N(0, I).

    Args:
        units: r.
        components: k.
    """

    name = "mixture"
    shares: Tensor
    means: Tensor
    roots: Tensor

    def __init__(self, units: int, components: int) -> None:
        super().__init__()
        self.units = units
        mixed = min(units, MOST_UNITS)
        self.register_buffer("shares", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, mixed))
        self.register_buffer("roots", torch.eye(mixed).repeat(components, 1, 1))  # lower Cholesky factors

    @classmethod
    def fit(cls, train: Tensor, held_out: Tensor, seed: int) -> Self:
        """Doubles the number of components, then lowers the variance floor, while the held-out density rises."""
        numbers = [number for number in COMPONENTS if number * CODES_PER_COMPONENT <= len(train)] or [1]

        def fitted(components: int, least_variance: float, start: Self | None = None) -> tuple[Self, float]:
            density = cls.with_components(train, components, seed, least_variance=least_variance, start=start)
            return density, float(density.log_prob(held_out).mean())

        best, score = _climb(fitted(number, LEAST_VARIANCES[0]) for number in numbers)
        components = best.sizes["components"]
        others = (fitted(components, least, best) for least in LEAST_VARIANCES[1:])
        return _climb(itertools.chain([(best, score)], others))[0]

    @classmethod
    def with_components(
        cls, train: Tensor, components: int, seed: int, *, least_variance: float, start: Self | None = None
    ) -> Self:
        """A mixture of so many Gaussians (at most as many as codes), by expectation maximisation.

        It begins at k-means, or at `start`, a mixture of as many components, from where it takes fewer steps.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        found = GaussianMixture(
            min(components, len(train)), reg_covar=least_variance, max_iter=50, tol=1e-2, random_state=seed
        )
        if start is not None:
            found.weights_init, found.means_init = (start.shares / start.shares.sum()).numpy(), start.means.numpy()
            found.precisions_init = torch.cholesky_inverse(start.roots).numpy()
        # float32 is quicker, but lower floors need float64: covariances may then be nearly singular.
        precision = torch.float32 if least_variance >= LEAST_VARIANCES[-1] else torch.float64
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near its optimum it samples just as well
            found.fit(train[:, -MOST_UNITS:].to(precision).numpy())
        density = cls(train.shape[1], min(components, len(train))).double()
        density.shares = torch.from_numpy(found.weights_).double()
        density.means = torch.from_numpy(found.means_).double()
        density.roots = torch.linalg.cholesky(torch.from_numpy(found.covariances_).double())
        return density

    @property
    def sizes(self) -> dict[str, int]:
        return {"units": self.units, "components": len(self.means)}

    def log_prob(self, u: Tensor) -> Tensor:
        plain, mixed = u.tensor_split([self.units - self.means.shape[1]], dim=1)
        terms = []
        for share, mean, root in zip(self.shares, self.means, self.roots, strict=True):
            standard = torch.linalg.solve_triangular(root, (mixed - mean).T, upper=False)  # [mixed units, n]
            terms.append(share.log() - 0.5 * standard.square().sum(dim=0) - root.diagonal().log().sum())
        standard_normal = -0.5 * plain.square().sum(dim=1) - 0.5 * LOG_TWO_PI * self.units
        return torch.logsumexp(torch.stack(terms), dim=0) + standard_normal

    def sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        like = self.means
        chosen = torch.multinomial(self.shares, n, replacement=True, generator=generator)
        drawn = torch.randn((n, self.units), generator=generator, device=like.device, dtype=like.dtype)
        mixed = drawn[:, self.units - like.shape[1] :]
        for component in range(len(like)):  # one at a time: a root for every draw would not fit the memory
            inside = chosen == component
            mixed[inside] = like[component] + mixed[inside] @ self.roots[component].T
        return drawn


def _climb(densities: Iterable[tuple[Found, float]]) -> tuple[Found, float]:
    """The last density before the score falls."""
    found = iter(densities)
    best = next(found)
    for density in found:
        if density[1] <= best[1]:
            break
        best = density
    return best
