"""Divergences against independent oracles: distributions, double loops, hand-computed cases, simulation, scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.spatial.distance
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from study.model.divergences import KERNELS, SCALES, gaussian_kl, imq, rbf, sliced_wasserstein, squared_mmd


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _kernel_value(name: str, a: np.ndarray, b: np.ndarray) -> float:
    """The kernels from their definitions, one pair at a time."""
    dim, squared = len(a), float(((a - b) ** 2).sum())
    if name == "imq":
        return sum(2 * s * dim / (2 * s * dim + squared) for s in SCALES)
    return sum(math.exp(-squared / (2 * s * dim)) for s in SCALES)


def _mmd_by_loops(z: np.ndarray, prior: np.ndarray, name: str) -> float:
    n, m = len(z), len(prior)
    within_z = sum(_kernel_value(name, z[i], z[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_p = sum(_kernel_value(name, prior[i], prior[j]) for i in range(m) for j in range(m) if i != j) / (
        m * (m - 1)
    )
    return within_z + within_p - 2 * sum(_kernel_value(name, a, b) for a in z for b in prior) / (n * m)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-15, 5)), min_size=1, max_size=6))
def test_kl_divergence_equals_torch_distributions(moments: list[tuple[float, float]]) -> None:
    mu, logvar = torch.tensor(moments, dtype=torch.float64).T[:, None]
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(gaussian_kl(mu, logvar), expected)


def test_kl_divergence_is_zero_at_the_prior_and_exact_near_it() -> None:
    assert gaussian_kl(torch.zeros(3, 4), torch.zeros(3, 4)).tolist() == [0, 0, 0]
    nearly = gaussian_kl(torch.zeros(1, 1), torch.full((1, 1), 1e-3)).item()  # l²/4 + l³/12 to this order
    assert nearly == pytest.approx(2.5e-7 + 8.3e-11, rel=1e-3)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("n", "m", "dim"), [(5, 5, 1), (6, 6, 3), (4, 7, 8)])
def test_mmd_divergence_equals_double_loop(name: str, n: int, m: int, dim: int) -> None:
    z = torch.randn(n, dim, generator=_generator(), dtype=torch.float64) * 2 + 1
    prior = torch.randn(m, dim, generator=_generator(1), dtype=torch.float64)
    assert squared_mmd(z, prior, name).item() == pytest.approx(_mmd_by_loops(z.numpy(), prior.numpy(), name), abs=1e-12)
    assert squared_mmd(z.float(), prior.float(), name).item() == pytest.approx(
        _mmd_by_loops(z.numpy(), prior.numpy(), name), abs=1e-5
    )


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_divergence_of_two_points_by_hand(name: str) -> None:
    # z = {0, 2}, p = {0, 0} on a line: k(0,2) + k(0,0) - 2/4 (2 k(0,0) + 2 k(2,0)) = 0: the estimate is unbiased, so it
    # may vanish for different samples.
    z, prior = torch.tensor([[0.0], [2.0]]), torch.zeros(2, 1)
    assert squared_mmd(z, prior, name).item() == pytest.approx(0, abs=1e-6)
    # z = {2, 2}, p = {0, 0}: 7 + 7 - 2 k(2,0), with |a-b|² = 4 and C_s = 2s: s / (s + 2), or exp(-2 / s).
    far = [s / (s + 2) if name == "imq" else math.exp(-2 / s) for s in SCALES]
    assert squared_mmd(torch.full((2, 1), 2.0), prior, name).item() == pytest.approx(14 - 2 * sum(far), rel=1e-6)


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_divergence_is_unbiased(name: str) -> None:
    generator = _generator(3)
    draws = [
        squared_mmd(torch.randn(8, 2, generator=generator), torch.randn(8, 2, generator=generator), name).item()
        for _ in range(1000)
    ]
    error = np.std(draws) / math.sqrt(len(draws))
    assert abs(np.mean(draws)) < 4 * error
    assert min(draws) < 0  # a clamped estimate would be biased upwards
    assert error < 0.02  # small enough to notice a bias: the V-statistic's is about 7/4


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_divergence_gradient_equals_numerical_one(name: str) -> None:
    z = torch.randn(5, 3, generator=_generator(), dtype=torch.float64, requires_grad=True)
    prior = torch.randn(4, 3, generator=_generator(1), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda codes: squared_mmd(codes, prior, name), (z,))


@pytest.mark.parametrize("kernel", [imq, rbf])
def test_divergence_kernel_slope_equals_differences(kernel) -> None:
    squared = torch.linspace(0, 60, 13, dtype=torch.float64)
    step = 1e-6
    numerical = (kernel(squared + step, 4) - kernel((squared - step).clamp(min=0), 4)) / (
        squared + step - (squared - step).clamp(min=0)
    )
    slope = torch.zeros_like(squared)
    kernel(squared, 4, slope)
    torch.testing.assert_close(slope, numerical, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [1.0, 1e3])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-5), (torch.float64, 1e-9)])
def test_mmd_divergence_is_the_same_with_and_without_a_gradient(
    name: str, size: float, dtype: torch.dtype, error: float
) -> None:
    """Without a gradient the sum is taken in blocks: here two whole ones and a remainder."""
    z = torch.randn(600, 3, generator=_generator(), dtype=dtype) * size
    prior = torch.randn(530, 3, generator=_generator(1), dtype=dtype)
    with_gradient = squared_mmd(z.clone().requires_grad_(), prior, name).detach()
    torch.testing.assert_close(squared_mmd(z, prior, name), with_gradient, rtol=error, atol=error)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e4, 1e8])
def test_mmd_divergence_is_finite_for_extreme_codes(name: str, size: float) -> None:
    z = (torch.randn(6, 4, generator=_generator()) * size).requires_grad_()
    value = squared_mmd(z, torch.randn(6, 4, generator=_generator(1)), name)
    value.backward()
    assert z.grad is not None
    assert value.isfinite() and z.grad.isfinite().all()
    assert value <= 14.001


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_divergence_pulls_codes_to_the_prior(name: str) -> None:
    z = (torch.randn(64, 2, generator=_generator()) * 0.1 + 3).requires_grad_()
    held_out = torch.randn(256, 2, generator=_generator(2))
    before = squared_mmd(z.detach(), held_out, name)
    generator = _generator(1)
    optimizer = torch.optim.Adam([z], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        squared_mmd(z, torch.randn(64, 2, generator=generator), name).backward()
        optimizer.step()
    assert squared_mmd(z.detach(), held_out, name) < 0.05 * before


def _transport_cost(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared distance of the best one-to-one matching, by linear assignment."""
    cost = scipy.spatial.distance.cdist(a, b, "sqeuclidean")
    return float(cost[scipy.optimize.linear_sum_assignment(cost)].mean())


def test_sliced_wasserstein_divergence_equals_scipy() -> None:
    z = torch.randn(20, 3, generator=_generator(), dtype=torch.float64) * 0.3 + 1
    prior = torch.randn(20, 3, generator=_generator(1), dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(3, 7, generator=_generator(2), dtype=torch.float64), dim=0)
    expected = np.mean([_transport_cost((z @ d)[:, None].numpy(), (prior @ d)[:, None].numpy()) for d in directions.T])
    assert sliced_wasserstein(z, prior, directions).item() == pytest.approx(expected, rel=1e-12)


def test_sliced_wasserstein_divergence_of_a_shift() -> None:
    prior = torch.randn(50, 2, generator=_generator(), dtype=torch.float64)
    direction = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    shifted = sliced_wasserstein(prior + torch.tensor([3.0, 5.0]), prior, direction)
    assert shifted.item() == pytest.approx(9)
    first_power = scipy.stats.wasserstein_distance((prior[:, 0] + 3).numpy(), prior[:, 0].numpy())
    assert shifted.item() == pytest.approx(first_power**2)  # a shift moves every point equally
