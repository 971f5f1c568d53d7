"""Every likelihood against torch.distributions, and the properties of all of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import ContinuousBernoulli, Distribution, Laplace, Normal

from study.config import TrialConfig, UserError
from study.model.building import LIKELIHOODS, build_likelihood
from study.model.likelihoods.base import AVERAGED, LOWEST_LOGVAR, Likelihood
from study.model.likelihoods.gaussian import GaussianOptimal, GaussianPixel, GaussianScalar
from study.model.loss import perceptual_distance, total_variation
from tests.helpers import made_summary

SUMMARY = made_summary(channels=3, height=5, width=4, total_variance=6.0)


def _raw(likelihood: Likelihood, batch: int = 2, size: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return size * torch.randn(batch, likelihood.maps * 3, 5, 4, generator=generator, dtype=torch.float64)


def _oracle(name: str, likelihood: Likelihood, raw: torch.Tensor, x: torch.Tensor | None = None) -> Distribution:
    """The density of an image; of a training batch x, where the likelihood takes its variance from that."""
    center = 0.5 + 0.5 * torch.tanh(raw) if name.endswith("_tanh") else raw
    if name == "gaussian_scalar":
        assert isinstance(likelihood, GaussianScalar)
        return Normal(raw, (0.5 * likelihood.logvar).exp())
    if name == "gaussian_optimal":
        assert isinstance(likelihood, GaussianOptimal)
        return Normal(raw, _bounded((likelihood.variance if x is None else (raw - x).square().mean()).item()) ** 0.5)
    if name == "gaussian_pixel":
        lowest = 2 * math.log(0.05)
        return Normal(raw[:, :3], (0.5 * (lowest + torch.log1p((raw[:, 3:] - lowest).exp()))).exp())
    return Normal(center, 1.0) if name.startswith("gaussian") else Laplace(center, 1.0)


def _bounded(variance: float) -> float:
    """exp(lowest + softplus(log variance - lowest)) by its closed form: the variance plus the lowest one."""
    return variance + 0.05**2


@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if name != "bernoulli"])
def test_likelihood_equals_torch_distributions(name: str) -> None:
    likelihood = LIKELIHOODS[name](SUMMARY).double()
    raw, x = _raw(likelihood), torch.rand(2, 3, 5, 4, dtype=torch.float64)
    expected = -_oracle(name, likelihood, raw, x).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(-likelihood.log_density(likelihood.cost(raw, x), 60, 1.0), expected)


def test_bernoulli_likelihood_equals_cross_entropy() -> None:
    likelihood = LIKELIHOODS["bernoulli"](SUMMARY)
    raw, x = _raw(likelihood), torch.rand(2, 3, 5, 4, dtype=torch.float64)
    # torch's Bernoulli refuses grey values. Its continuous version differs by a normaliser that does not depend on x.
    oracle = ContinuousBernoulli(logits=raw)
    expected = -(oracle.log_prob(x) - oracle.log_prob(torch.zeros_like(x)) + torch.log1p(-raw.sigmoid()))
    torch.testing.assert_close(likelihood.cost(raw, x), expected.sum(dim=(1, 2, 3)))


def test_gaussian_likelihood_is_half_the_squared_error() -> None:
    likelihood = LIKELIHOODS["gaussian"](SUMMARY)
    assert likelihood.cost(torch.full((1, 3, 5, 4), 0.5), torch.ones(1, 3, 5, 4)).tolist() == [0.5 * 60 * 0.25]


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood_images_lie_in_range(name: str) -> None:
    likelihood = LIKELIHOODS[name](SUMMARY)
    raw = _raw(likelihood, size=5).float()
    generator = torch.Generator().manual_seed(0)
    for image in (likelihood.mean(raw), likelihood.draw(raw, generator)):
        assert image.shape == (2, 3, 5, 4)
        assert image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood_draws_scatter_as_stated(name: str) -> None:
    likelihood = LIKELIHOODS[name](SUMMARY)
    raw = torch.full((4000, likelihood.maps * 3, 5, 4), 0.4)
    if name == "gaussian_pixel":
        raw[:, 3:] = -3.0
    draws = likelihood.draw(raw, torch.Generator().manual_seed(0)).flatten()
    if name == "bernoulli":
        assert draws.mean().item() == pytest.approx(1 / (1 + math.exp(-0.4)), abs=0.01)
        return
    oracle = _oracle(name, likelihood, raw)
    expected = oracle.cdf(torch.tensor(0.7)).flatten()[0].item()  # clipping keeps the share below 0.7
    assert (draws < 0.7).float().mean().item() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("shade", [0.0, 1.0])
def test_likelihood_gradient_is_finite_at_extreme_inputs(name: str, size: float, shade: float) -> None:
    likelihood = LIKELIHOODS[name](SUMMARY)
    for sign in (-1, 1):
        raw = (sign * _raw(likelihood, size=size).abs().float()).requires_grad_()
        cost = likelihood.cost(raw, torch.full((2, 3, 5, 4), shade))
        cost.sum().backward()
        assert raw.grad is not None
        assert cost.isfinite().all() and raw.grad.isfinite().all()


def test_learned_variance_likelihood_starts_at_the_data_and_finds_the_error() -> None:
    likelihood = GaussianScalar(SUMMARY)
    assert likelihood.logvar.item() == pytest.approx(math.log(0.1), abs=0.1)
    raw, x = torch.zeros(8, 3, 5, 4), 0.2 * torch.randn(8, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        likelihood.cost(raw, x).mean().backward()
        optimizer.step()
    assert likelihood.logvar.exp().item() == pytest.approx(x.square().mean().item(), rel=0.01)


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.2, 3.0])
def test_an_optimal_variance_is_the_batchs_error_and_its_cost_the_logarithm_of_that(spread: float) -> None:
    """Eq. 8 of 2006.13202: -log p of a batch at its best variance is P/2 (log(2 pi MSE) + 1), P numbers in an image."""
    likelihood = GaussianOptimal(SUMMARY).double()
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(8, 3, 5, 4, generator=generator, dtype=torch.float64).requires_grad_()
    x = raw.detach() + spread * torch.randn(8, 3, 5, 4, generator=generator, dtype=torch.float64)
    error = (x - raw).square().mean()
    variance = error + 0.05**2  # the bound
    cost = likelihood.cost(raw, x).mean()
    expected = 30 * (torch.log(2 * math.pi * variance) + error / variance)
    torch.testing.assert_close(cost, expected)
    if spread > 1:  # the bound no longer matters, so no other variance is likelier
        near = [-Normal(raw, (factor * error).sqrt()).log_prob(x).sum() / 8 for factor in (0.9, 1.1)]
        assert cost < min(near)
        [found] = torch.autograd.grad(cost, raw, retain_graph=True)
        [wanted] = torch.autograd.grad(30 * torch.log(error), raw)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=0)


def test_an_optimal_variance_is_averaged_while_training_and_used_afterwards() -> None:
    likelihood = GaussianOptimal(SUMMARY)
    variance, raw = SUMMARY.total_variance / 60, torch.zeros(8, 3, 5, 4)
    for shade in (0.1, 0.4, 0.2):
        likelihood.cost(raw, torch.full_like(raw, shade))
        variance += AVERAGED * (shade**2 - variance)
    assert likelihood.variance.item() == pytest.approx(variance, rel=1e-5)
    likelihood.eval()
    x = torch.rand(8, 3, 5, 4)
    expected = -Normal(raw, math.sqrt(_bounded(variance))).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(likelihood.cost(raw, x), expected)
    torch.testing.assert_close(likelihood.cost(raw[:1], x[:1]), expected[:1])  # whatever else is in the batch
    assert likelihood.variance.item() == pytest.approx(variance, rel=1e-5)


def test_a_learned_variance_is_bounded_below() -> None:
    _, logvar = GaussianPixel(SUMMARY).parameters_of(torch.full((1, 6, 5, 4), -1e4))
    assert (logvar == LOWEST_LOGVAR).all()


def test_likelihood_total_variation_by_hand() -> None:
    image = torch.tensor([[0.0, 0.5], [1.0, 0.25]])[None, None]
    assert total_variation(image).item() == pytest.approx(0.25 + 0.5625 + 1 + 0.0625)
    assert total_variation(torch.ones(2, 3, 4, 5)).tolist() == [0, 0]


def test_likelihood_perceptual_distance_of_pixels_is_the_absolute_error() -> None:
    x, image = torch.rand(2, 3, 5, 4), torch.rand(2, 3, 5, 4, requires_grad=True)
    distance = perceptual_distance(lambda images: images.flatten(1), image, x)
    torch.testing.assert_close(distance, (image - x).abs().sum(dim=(1, 2, 3)))
    distance.sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0


def test_unknown_likelihood_lists_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"choose from bernoulli, gaussian, .*laplace_tanh"):
        build_likelihood(TrialConfig(likelihood="no such"), SUMMARY)
