"""Densities of a search space's own: fitted and tried in such a way that a faulty one harms nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from study.errors import UserError, located_errors
from study.priors.density import Density
from study.priors.fitted import FittedPrior, placed

DRAWS = 5_000
"""As many draws are looked at; a trial's metrics seldom take more."""


def own_prior(
    density: type[Density], mean: Tensor, basis: Tensor, train: Tensor, held_out: Tensor, seed: int
) -> tuple[FittedPrior, float]:
    """The prior that a density of a space's own gives, and the mean log density of held-out whitened codes, in float64.

    Fitting may use gradients, and torch's global generator, which is seeded for it and restored.

    Args:
        density: The class.
        mean: As of `FittedPrior`.
        basis: As of `FittedPrior`.
        train: As of `Density.fit`.
        held_out: As of `Density.fit`.
        seed: As of `Density.fit`.

    Raises:
        UserError: It raised an error, whose place the message tells; it gives no density of these codes; or it cannot
            be restored from its record.
    """
    with torch.random.fork_rng(devices=[]), located_errors():
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which would seed GPUs too
        with torch.enable_grad():
            fitted = density.fit(train.clone(), held_out.clone(), seed)
        if not isinstance(fitted, density):
            raise UserError(f"its fit returns {type(fitted).__name__}, not {density.__name__}")
        fitted = fitted.double().eval().requires_grad_(False)
        with torch.no_grad():
            score = _mean_log_density(fitted, held_out)
            if not all(isinstance(value, int | float | str) for value in fitted.sizes.values()):
                raise UserError("its sizes hold something else than numbers and text")
            prior = placed(mean, basis, fitted)
            _check_draws(prior)
    return prior, score


def _mean_log_density(density: Density, codes: Tensor) -> float:
    found = density.log_prob(codes)
    if found.shape != codes.shape[:1]:
        raise UserError(
            f"its log_prob returns {list(found.shape)} for {list(codes.shape)}, not {list(codes.shape[:1])}"
        )
    if infinite := int((~torch.isfinite(found)).sum()):
        raise UserError(f"its log_prob is not finite for {infinite} of {len(found)} held-out codes")
    return float(found.double().mean())


def _check_draws(prior: FittedPrior) -> None:
    first, again = (prior.sample(DRAWS, torch.Generator().manual_seed(0)) for _ in range(2))
    if first.shape != (DRAWS, len(prior.mean)) or not torch.isfinite(first).all():
        raise UserError("its sample returns another shape than [n, r], or numbers that are not finite")
    if not torch.equal(first, again):
        raise UserError("its sample does not draw from the generator alone: pass generator= to torch's functions")
