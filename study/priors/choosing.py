"""Fits the prior of a model: whitens its codes and keeps the density under which held-out codes are the most likely."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from study.errors import UserError
from study.priors.density import Density
from study.priors.fitted import FittedPrior, placed
from study.priors.mixture import Mixture
from study.priors.normal import Normal
from study.priors.own import own_prior

Fit = Callable[[Tensor, Tensor, int], Density]
"""Fits a density to whitened codes, as `Density.fit` does."""
CANDIDATES: tuple[Fit, ...] = (Normal.fit, Mixture.fit)
HELD_OUT = 0.1
FEWEST = 20
"""Fewer codes get one Gaussian: a tenth of them would decide nothing."""
LEAST_SHARE = 1e-8
"""A direction in which codes vary less than this share of the largest variance counts as constant."""


def whitening(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [d], basis [r, d] and its inverse [d, r] of codes [n, d], float64.

    `(codes - mean) @ inverse` has covariance I, and `@ basis` leads back.

    r is below d where a unit is constant, units depend on each other, or there are fewer codes than units.
    """
    mean = codes.mean(dim=0)
    centred = codes - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / max(len(codes) - 1, 1))
    size = max(float(codes.abs().max()), 1.0)
    varies = variances > max(LEAST_SHARE * float(variances.max()), (1e-7 * size) ** 2)  # below that it is rounding
    deviations = variances[varies].sqrt()
    return mean, (directions[:, varies] * deviations).T, directions[:, varies] / deviations


@torch.no_grad()
def fit_prior(
    codes: Tensor,
    seed: int = 0,
    candidates: Sequence[Fit] = CANDIDATES,
    own: Sequence[type[Density]] = (),
    warn: Callable[[str], None] = warnings.warn,
) -> FittedPrior:
    """Fits a prior to codes of training images.

    Held-out codes are the first tenth; the others are whitened and fitted to.

    Args:
        codes: One per image, draws from the posterior if it is Gaussian, in random order: [n, d], n at least 1.
        seed: The same seed gives the same prior.
        candidates: Of these the one with the highest mean log density of held-out codes is kept.
        own: Further candidates, of a space's own. One that fails is left out.
        warn: Takes a line for each of those.

    Returns:
        On the CPU, float32.

    Raises:
        ValueError: A code is not finite.
    """
    codes = codes.detach().cpu().double()
    if not torch.isfinite(codes).all():
        raise ValueError("codes of training images are not finite")
    held_out, train = codes.tensor_split([round(HELD_OUT * len(codes))]) if len(codes) >= FEWEST else (codes, codes)
    mean, basis, inverse = whitening(train)
    if not len(basis):
        warnings.warn("all codes of training images are equal: the fitted prior is one point", stacklevel=2)
        return placed(mean, basis, None)
    white, white_held_out = (train - mean) @ inverse, (held_out - mean) @ inverse
    if len(codes) < FEWEST:
        return placed(mean, basis, Normal.fit(white, white_held_out, seed))
    found = [fit(white, white_held_out, seed) for fit in candidates]
    scores = [float(density.log_prob(white_held_out).mean()) for density in found]
    best = max(range(len(found)), key=scores.__getitem__)
    prior, highest = placed(mean, basis, found[best]), scores[best]
    for density in own:
        try:
            candidate, score = own_prior(density, mean, basis, white, white_held_out, seed)
            if score > highest:
                prior, highest = candidate, score
        except UserError as error:
            warn(f"prior {density.name} is left out: {error}")
    return prior
