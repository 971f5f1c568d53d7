"""Likelihood bounds, draws from the prior and midpoints, on cases whose answer is known."""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from study.config import TrialConfig
from study.measure.latent import active_units, iwae_nll, normal_points, spherical_midpoint
from study.model.autoencoder import Autoencoder, Posterior
from study.model.building import build_autoencoder
from tests.helpers import made_summary

PIXELS, LATENT = 12, 3


class LinearGaussian:
    """x = Wz + b + noise of unit variance: log p(x) = log N(x; b, WWᵀ + I), and the posterior is Gaussian.

    Args:
        widening: Factor on the posterior's deviations; 1 is exact, since the columns of W are orthogonal.
    """

    def __init__(self, widening: float = 1.0) -> None:
        generator = torch.Generator().manual_seed(0)
        columns = torch.linalg.qr(torch.randn(PIXELS, LATENT, generator=generator, dtype=torch.float64))[0]
        self.scales = torch.tensor([0.5, 1.5, 3.0], dtype=torch.float64)
        self.weight = columns * self.scales
        self.bias = torch.randn(PIXELS, generator=generator, dtype=torch.float64)
        self.widening = widening

    def inputs(self, x: Tensor) -> Tensor:
        return x

    def posterior(self, x: Tensor) -> Posterior:
        variance = 1 / (1 + self.scales.square())
        mu = (x.flatten(1) - self.bias) @ self.weight * variance
        return Posterior(mu, (variance * self.widening**2).log().expand_as(mu))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        error = x.flatten(1) - z @ self.weight.T - self.bias
        return -0.5 * error.square().sum(1) - 0.5 * PIXELS * math.log(2 * math.pi)

    def exact_nll(self, x: Tensor) -> Tensor:
        covariance = self.weight @ self.weight.T + torch.eye(PIXELS, dtype=torch.float64)
        normal = torch.distributions.MultivariateNormal(self.bias, covariance)
        return -cast(Tensor, normal.log_prob(x.flatten(1)))


def images(n: int) -> Tensor:
    return torch.randn(n, 1, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def bound(model: Any, x: Tensor, samples: int) -> Tensor:
    return iwae_nll(model, x, samples, torch.Generator().manual_seed(2))


@pytest.mark.parametrize("samples", [1, 5, 64])
def test_metrics_iwae_with_the_exact_posterior_is_exact(samples: int) -> None:
    model, x = LinearGaussian(), images(20)
    assert torch.allclose(bound(model, x, samples), model.exact_nll(x), atol=1e-9)


def test_metrics_iwae_bound_tightens_with_samples() -> None:
    model, x = LinearGaussian(widening=1.5), images(400)
    exact = model.exact_nll(x).mean()
    means = [bound(model, x, samples).mean() for samples in (1, 3, 9, 27, 2_000)]
    assert all(before > after for before, after in itertools.pairwise(means[:-1]))
    assert all(mean > exact - 0.02 for mean in means)
    assert means[0] > exact + 0.3
    assert means[-1] == pytest.approx(float(exact), abs=0.02)


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace", "bernoulli", "gaussian_scalar", "gaussian_pixel"])
def test_metrics_iwae_against_quadrature(likelihood: str) -> None:
    """A real model with one latent unit, so that the integral over z can be computed on a grid."""
    torch.manual_seed(0)
    config = TrialConfig(
        encoder="gaussian", regularizer="kl", weight=1.0, latent_dim=1, width=16, likelihood=likelihood
    )
    model = build_autoencoder(config, made_summary()).double().eval()
    x = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    grid = torch.linspace(-8, 8, 4_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        joint = [model.log_likelihood(image.expand(len(grid), 1, 8, 8), grid) for image in x]
    prior = -0.5 * grid[:, 0].square() - 0.5 * math.log(2 * math.pi)
    exact = -torch.stack([torch.logsumexp(row + prior, 0) for row in joint]) - math.log(16 / 4_000)
    # The learned variance starts small, so the untrained posterior is a poor proposal there.
    assert torch.allclose(bound(model, x, 4_000), exact, atol=0.6 if likelihood == "gaussian_scalar" else 0.05)


def test_metrics_iwae_does_not_depend_on_the_chunk_and_refuses_points() -> None:
    model, x = cast(Autoencoder, LinearGaussian(widening=1.3)), images(3)
    chunked = [iwae_nll(model, x, 10, torch.Generator().manual_seed(0), chunk=chunk).mean() for chunk in (3, 10)]
    assert chunked[0] == pytest.approx(float(chunked[1]), abs=0.5)
    deterministic = build_autoencoder(TrialConfig(), made_summary())
    with pytest.raises(ValueError, match="Gaussian encoder"):
        iwae_nll(deterministic, torch.rand(2, 1, 8, 8), 2, torch.Generator())


@pytest.mark.parametrize("size", [2, 8, 16])
def test_metrics_prior_points_have_the_priors_moments_ten_times_better_than_independent_draws(size: int) -> None:
    def error(z: Tensor) -> float:
        z = z.double()
        return float(z.mean(0).square().mean() + (z.T @ z / len(z) - torch.eye(size)).square().mean())

    seeds = range(5)
    even = [error(normal_points(3_000, size, seed)) for seed in seeds]
    independent = [error(torch.randn(3_000, size, generator=torch.Generator().manual_seed(seed))) for seed in seeds]
    assert sum(even) < 0.1 * sum(independent)


def test_metrics_prior_points_against_another_implementation() -> None:
    """SciPy's Sobol sequence without scrambling has the same points, and scrambling keeps each coordinate's strata."""
    from scipy.stats import norm, qmc

    n = 1_024
    plain = torch.quasirandom.SobolEngine(16).draw(n, dtype=torch.float64).numpy()
    assert np.array_equal(plain, qmc.Sobol(16, scramble=False).random(n))
    z = normal_points(n, 16, seed=5).double().numpy()
    strata = np.floor(norm.cdf(z) * n).clip(0, n - 1).astype(int)
    assert all(np.bincount(column, minlength=n).max() <= 2 for column in strata.T)  # one each, but for rounding
    assert all(np.abs(np.sort(column) - np.arange(n)).max() <= 1 for column in strata.T)


def test_metrics_prior_points_of_other_sizes_are_the_first_ones() -> None:
    z = normal_points(3_000, 140, seed=1)
    assert z.shape == (3_000, 140) and z.dtype == torch.float32 and z.isfinite().all()
    for n, size in ((3_000, 8), (500, 8), (500, 130)):
        assert torch.equal(normal_points(n, size, seed=1), z[:n, :size])
    assert not torch.equal(normal_points(500, 8, seed=2), z[:500, :8])
    covariance = torch.cov(z[:, 120:].T.double())
    assert torch.allclose(covariance, torch.eye(20).double(), atol=0.15)


def test_metrics_active_units_on_a_built_case() -> None:
    generator = torch.Generator().manual_seed(0)
    deviations = torch.tensor([1.0, 0.12, 0.08, 0.0, 3.0])
    mu = torch.randn(20_000, 5, generator=generator) * deviations + torch.tensor([0.0, 0, 5, 100, 0])
    assert active_units(mu) == 3


def test_spherical_midpoint() -> None:
    a = torch.tensor([[2.0, 0], [1, 0], [1, 0], [0, 0]])
    b = torch.tensor([[0.0, 2], [-1, 0], [3, 0], [0, 0]])
    expected = torch.tensor([[math.sqrt(2), math.sqrt(2)], [0, 0], [2, 0], [0, 0]])
    assert torch.allclose(spherical_midpoint(a, b), expected, atol=1e-6)
