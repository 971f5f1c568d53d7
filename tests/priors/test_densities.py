"""Every density over codes, with one test for all, and the properties that each promises."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.mixture import GaussianMixture
from torch import Tensor

from benchmarks import prior_candidates
from benchmarks.prior_candidates import Flow, SecondStage
from study.priors.density import Density
from study.priors.fitted import DENSITIES
from study.priors.mixture import COMPONENTS, MOST_UNITS, Mixture
from study.priors.normal import Normal

ALL = (Normal, Mixture, Flow, SecondStage)


def white(codes: Tensor) -> Tensor:
    centred = codes - codes.mean(0)
    return centred @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(centred.T))).T


def banana(n: int, seed: int = 0) -> Tensor:
    """Codes on a bent line: no Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    along, noise = torch.randn(2, n, generator=generator, dtype=torch.float64)
    return white(torch.stack([along, along.square() + 0.3 * noise], dim=1))


@pytest.fixture(scope="module", params=ALL, ids=lambda density: density.name)
def fitted(request: pytest.FixtureRequest) -> Iterator[Density]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior_candidates, "STEPS", 400)  # enough for two units
        yield request.param.fit(banana(2_000), banana(400, seed=1), 0)


def test_a_density_integrates_to_one_and_is_the_density_of_its_samples(fitted: Density) -> None:
    bound_only = fitted.name == "second_stage"  # its log_prob is a lower bound, and takes long
    axis = torch.linspace(-9, 12, 106 if bound_only else 211, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = fitted.log_prob(grid).double().exp() * (axis[1] - axis[0]) ** 2
        drawn = fitted.sample(40_000, torch.Generator().manual_seed(0)).double()
        own = fitted.log_prob(drawn[:2_000]).double().mean()
    assert float(density.sum()) == pytest.approx(1, abs=0.1 if bound_only else 0.01)
    mean = (grid * density[:, None]).sum(0)
    assert torch.allclose(drawn.mean(0), mean, atol=0.1 if bound_only else 0.05)
    entropy = -(density * fitted.log_prob(grid).double()).sum()
    assert float(own) == pytest.approx(-float(entropy), abs=0.3 if bound_only else 0.1)


def test_a_density_is_deterministic_and_its_state_restores_it(fitted: Density) -> None:
    # Both here: the fixture may have been fitted with another number of threads, which rounds otherwise.
    first, again = (type(fitted).fit(banana(2_000), banana(400, seed=1), 0) for _ in range(2))
    restored = type(fitted)(**first.sizes).to(next(iter(first.state_dict().values())).dtype)
    restored.load_state_dict(first.state_dict())
    draws = [density.sample(50, torch.Generator().manual_seed(3)) for density in (first, again, restored)]
    assert all(torch.allclose(draws[0], other, atol=1e-5) for other in draws[1:])


def test_fitting_leaves_the_global_generator_alone(fitted: Density) -> None:
    before = torch.get_rng_state()
    type(fitted).fit(banana(100), banana(20, seed=1), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_bent_codes_are_more_likely_under_a_mixture_than_under_one_gaussian() -> None:
    held_out = banana(2_000, seed=2)
    scores = {kind: float(kind.fit(banana(2_000), banana(400, 1), 0).log_prob(held_out).mean()) for kind in ALL[:2]}
    assert scores[Mixture] > scores[Normal] + 0.5


def test_mixture_log_prob_against_scikit_learn() -> None:
    train, held_out = banana(500), banana(100, seed=1)
    density = Mixture.with_components(train, 4, 0, least_variance=1e-3)
    oracle = GaussianMixture(4, reg_covar=1e-3, max_iter=50, tol=1e-2, random_state=0).fit(train.numpy())
    assert np.allclose(density.log_prob(held_out).numpy(), oracle.score_samples(held_out.numpy()), atol=1e-6)


def test_normal_log_prob_against_scipy() -> None:
    u = banana(50)
    expected = norm.logpdf(u.numpy()).sum(1)
    assert np.allclose(Normal(2).log_prob(u).numpy(), expected)


def test_mixture_takes_as_many_components_as_held_out_codes_allow() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 8 * torch.randn(20, 2, generator=generator, dtype=torch.float64)
    codes = centres[torch.randint(20, (3_000,), generator=generator)]
    codes = white(codes + 0.5 * torch.randn(3_000, 2, generator=generator, dtype=torch.float64))
    assert Mixture.fit(codes[300:], codes[:300], 0).sizes["components"] >= 20
    one = torch.randn(3_000, 6, generator=generator, dtype=torch.float64)
    assert Mixture.fit(one[300:], one[:300], 0).sizes["components"] == COMPONENTS[0]


@pytest.mark.parametrize("count", [1, 3, 30])
def test_mixture_of_few_codes(count: int) -> None:
    codes = torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if count == 1:
        with pytest.raises(ValueError):  # scikit-learn wants two; `fit_prior` gives fewer than twenty one Gaussian
            Mixture.fit(codes, codes, 0)
        return
    assert Mixture.fit(codes, codes, 0).sample(20, None).isfinite().all()


def test_mixture_of_many_units_mixes_those_that_vary_most() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(400, MOST_UNITS + 6, generator=generator, dtype=torch.float64)
    codes[:, -1] = torch.where(codes[:, -1] > 0, 9.0, -9.0) + codes[:, 0]
    density = Mixture.with_components(codes, 2, 0, least_variance=1e-3)
    assert density.means.shape == (2, MOST_UNITS)
    drawn = density.sample(4_000, torch.Generator().manual_seed(1))
    assert torch.allclose(drawn.std(0)[:-1], torch.ones_like(drawn[0, :-1]), atol=0.2)
    assert (drawn[:, -1].abs() - 9).abs().max() < 6 < drawn[:, -1].std()
    expected = norm.logpdf(codes[:50, :6].numpy()).sum(1)
    mixed = Mixture(MOST_UNITS, 2).double()
    mixed.load_state_dict(density.state_dict())
    assert np.allclose(density.log_prob(codes[:50]).numpy(), expected + mixed.log_prob(codes[:50, 6:]).numpy())


def test_the_registry_has_each_density_under_its_name() -> None:
    assert all(getattr(density, "name", None) == name for name, density in DENSITIES.items())
    assert math.isfinite(float(Normal(3).log_prob(torch.zeros(1, 3))))
