"""The fitted prior as a whole: whitening, the choice between densities, and codes that no density can fit."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from study.priors.choosing import FEWEST, fit_prior, whitening
from study.priors.fitted import described, from_record
from study.priors.mixture import Mixture
from study.priors.normal import Normal


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(prior: torch.nn.Module, n: int = 20_000) -> Tensor:
    return prior.sample(n, torch.Generator().manual_seed(1)).double()  # type: ignore[operator]


@pytest.mark.parametrize("units", [1, 4])
@pytest.mark.parametrize("candidates", [(Normal.fit,), (Mixture.fit,)])
def test_samples_have_the_moments_of_the_codes(units: int, candidates: tuple) -> None:
    codes = normal(3_000, units) @ normal(units, units, seed=2) + 5
    z = drawn(fit_prior(codes, candidates=candidates))
    assert z.shape == (20_000, units)
    assert torch.allclose(z.mean(0), codes.mean(0), atol=0.15)
    assert torch.allclose(torch.cov(z.T), torch.cov(codes.T), rtol=0.15, atol=0.15)


def test_held_out_codes_decide_which_density_is_kept() -> None:
    two = torch.cat([0.1 * normal(500, 2) - 5, 0.1 * normal(500, 2, seed=1) + 5])
    two = two[torch.randperm(1_000, generator=torch.Generator().manual_seed(0))]
    assert fit_prior(two).components >= 2
    assert (drawn(fit_prior(two)).abs() - 5).abs().lt(1).all(dim=1).double().mean() > 0.95
    one = fit_prior(normal(1_000, 6))
    assert one.density is not None and one.density.name == "gaussian" and one.components == 1


def test_whitened_codes_have_unit_covariance() -> None:
    codes = normal(500, 3) @ normal(3, 3, seed=4) * torch.tensor([1e-3, 1.0, 1e3]) + 7
    mean, basis, inverse = whitening(codes)
    white = (codes - mean) @ inverse
    assert torch.allclose(inverse, torch.linalg.pinv(basis), rtol=1e-6)
    assert torch.allclose(torch.cov(white.T), torch.eye(len(basis), dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize(
    ("codes", "rank"),
    [
        (torch.ones(50, 3), 0),
        (torch.zeros(1, 3), 0),
        (torch.cat([normal(200, 2), torch.full((200, 1), 4.0)], dim=1), 2),
        (normal(200, 1), 1),
        (normal(30, 60), 26),
        (normal(30, 60).float(), 26),
        (torch.eye(3) * 1e6, 2),
        (torch.eye(3) * 1e-3, 2),
        (normal(200, 2) @ normal(2, 5), 2),
        (normal(2, 4), 1),
    ],
    ids=["equal", "one", "a constant unit", "d=1", "d>n", "d>n, float32", "large", "small", "dependent", "two codes"],
)
@pytest.mark.filterwarnings("ignore:all codes")
def test_codes_that_vary_in_few_directions(codes: Tensor, rank: int) -> None:
    prior = fit_prior(codes)
    z = drawn(prior, 500)
    assert len(prior.basis) == rank and z.shape == (500, codes.shape[1]) and z.isfinite().all()
    if rank:
        mean, basis, inverse = whitening(codes.double())
        outside = (z - mean) - (z - mean) @ inverse @ basis
        assert outside.abs().max() < 1e-4 * codes.abs().max()


def test_equal_codes_give_a_warning_and_one_point() -> None:
    with pytest.warns(UserWarning, match="all codes of training images are equal"):
        prior = fit_prior(torch.full((100, 2), 3.0))
    assert torch.equal(prior.sample(4), torch.full((4, 2), 3.0)) and prior.components == 0
    assert torch.equal(from_record(prior.record()).sample(4), prior.sample(4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_codes_that_are_not_finite_are_refused(value: float) -> None:
    codes = normal(100, 2)
    codes[3, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        fit_prior(codes)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 3 * FEWEST),
    units=st.integers(1, 8),
    scale=st.floats(1e-3, 1e4),
    offset=st.floats(-1e3, 1e3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_codes_give_finite_samples_near_them(n: int, units: int, scale: float, offset: float, seed: int) -> None:
    codes = scale * normal(n, units, seed=seed) + offset
    z = drawn(fit_prior(codes), 200)
    assert z.isfinite().all()
    assert (z - codes.mean(0)).abs().max() < 20 * (codes - codes.mean(0)).abs().max() + 1e-4 * abs(offset)


def test_a_prior_survives_a_checkpoint_and_json() -> None:
    prior = fit_prior(normal(800, 3) ** 3)
    again = from_record({name: value for name, value in prior.record().items()})
    assert torch.equal(
        again.sample(9, torch.Generator().manual_seed(0)), prior.sample(9, torch.Generator().manual_seed(0))
    )
    empty = described(**json.loads(json.dumps(prior.description)))
    assert empty.state_dict().keys() == prior.state_dict().keys()
