"""Densities of a space's own: they join the choice, are restored, and harm nothing when they fail."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import pytest
import torch
from torch import Tensor

from study.components import Components
from study.config import DataSummary, TrialConfig, UserError
from study.priors.choosing import FEWEST, fit_prior
from study.priors.density import LOG_TWO_PI, Density
from study.priors.fitted import from_record
from study.session.first_models import build_models
from study.space import SearchSpace
from tests.helpers import made_summary


class Ring(Density):
    """Codes on a circle: uniform in its angle, a Gaussian around its radius."""

    name: ClassVar[str] = "ring"
    radius: Tensor
    width: Tensor

    def __init__(self, units: int, floor: float = 0.01) -> None:
        super().__init__()
        self.units, self.floor = units, floor
        self.register_buffer("radius", torch.ones(()))
        self.register_buffer("width", torch.ones(()))

    @classmethod
    def fit(cls, train: Tensor, held_out: Tensor, seed: int) -> Self:
        density, r = cls(train.shape[1]), train.norm(dim=1)
        torch.rand(1)  # from the global generator
        optimiser_needs_gradients = torch.ones((), requires_grad=True)
        (optimiser_needs_gradients * 2).backward()
        density.radius, density.width = r.mean(), r.std().clamp_min(density.floor)
        return density

    @property
    def sizes(self) -> dict[str, Any]:
        return {"units": self.units, "floor": self.floor}

    def log_prob(self, u: Tensor) -> Tensor:
        r = u.norm(dim=1)
        around = -0.5 * ((r - self.radius) / self.width).square() - self.width.log() - 0.5 * LOG_TWO_PI
        return around - (2 * math.pi * r).log()  # the angle, and the change of variables

    def sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        angle = 2 * math.pi * torch.rand(n, generator=generator, dtype=self.radius.dtype)
        r = self.radius + self.width * torch.randn(n, generator=generator, dtype=self.radius.dtype)
        return torch.stack([r * angle.cos(), r * angle.sin()], dim=1)


class Raises(Ring):
    name: ClassVar[str] = "raises"

    @classmethod
    def fit(cls, train: Tensor, held_out: Tensor, seed: int) -> Self:
        raise ValueError("my own fault")


class Infinite(Ring):
    name: ClassVar[str] = "infinite"

    def log_prob(self, u: Tensor) -> Tensor:
        return torch.where(u[:, 0] > 0, math.inf, 0.0)


class Shapeless(Ring):
    name: ClassVar[str] = "shapeless"

    def log_prob(self, u: Tensor) -> Tensor:
        return u


class Careless(Ring):
    name: ClassVar[str] = "careless"

    def sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        return torch.randn(n, 2)


class Forgetful(Ring):
    name: ClassVar[str] = "forgetful"

    @property
    def sizes(self) -> dict[str, Any]:
        return {"size": 2}


class NoDensity(Ring):
    name: ClassVar[str] = "no_density"

    @classmethod
    def fit(cls, train: Tensor, held_out: Tensor, seed: int) -> Any:
        return train


class Thrown(Ring):
    name: ClassVar[str] = "thrown"

    def sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        return super().sample(n, generator) * math.inf


def circle(n: int = 2_000) -> Tensor:
    angle = 2 * math.pi * torch.rand(n, generator=torch.Generator().manual_seed(0))
    return 5 + 3 * torch.stack([angle.cos(), angle.sin()], dim=1)


def test_a_density_of_the_spaces_own_is_kept_if_held_out_codes_are_likeliest_under_it() -> None:
    prior = fit_prior(circle(), own=[Ring])
    assert isinstance(prior.density, Ring) and prior.components == 1
    r = (prior.sample(1_000, torch.Generator().manual_seed(0)) - 5).norm(dim=1)
    assert float(r.mean()) == pytest.approx(3, abs=0.05) and float(r.std()) < 0.1
    normal = torch.randn(2_000, 2, generator=torch.Generator().manual_seed(0))
    plain = fit_prior(normal, own=[Ring]).density
    assert plain is not None and plain.name == "gaussian"


def test_it_is_restored_from_its_record() -> None:
    prior = fit_prior(circle(), own=[Ring])
    again = from_record(prior.record(), {"ring": Ring})
    draws = [found.sample(50, torch.Generator().manual_seed(1)) for found in (prior, again)]
    assert torch.equal(*draws)
    assert prior.record()["sizes"] == {"units": 2, "floor": 0.01}


def test_fitting_it_leaves_the_global_generator_alone_and_does_not_depend_on_it() -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(fit_prior(circle(), own=[Ring]).sample(10, torch.Generator().manual_seed(0)))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("density", "why"),
    [
        (Raises, "ValueError: my own fault"),
        (Infinite, "its log_prob is not finite for"),
        (Shapeless, r"its log_prob returns \[200, 2\] for \[200, 2\], not \[200\]"),
        (Careless, "does not draw from the generator alone"),
        (Thrown, "numbers that are not finite"),
        (Forgetful, "unexpected keyword argument 'size'"),
        (NoDensity, "its fit returns Tensor, not NoDensity"),
    ],
)
def test_one_that_fails_is_left_out_with_a_warning(density: type[Density], why: str) -> None:
    with pytest.warns(UserWarning, match=f"prior {density.name} is left out: .*{why}"):
        prior = fit_prior(circle(), own=[density])
    assert prior.density is not None and prior.density.name == "mixture"


def test_few_codes_get_one_gaussian_whatever_the_space_brings() -> None:
    prior = fit_prior(circle(FEWEST - 1), own=[Raises])
    assert prior.density is not None and prior.density.name == "gaussian"


@pytest.fixture
def summary() -> DataSummary:
    return made_summary()


def trials(*sizes: int) -> list[Any]:
    return [{"origin": "search", **TrialConfig(latent_dim=size).to_params()} for size in sizes]


def space(*components: Any) -> SearchSpace:
    return SearchSpace(question="?", suggest=lambda trial, data: {}, components=components)


def test_a_dry_run_tells_a_density_that_fits_no_latent_size(summary: DataSummary) -> None:
    build_models(trials(2), summary, space(Ring))
    build_models(trials(2, 3), summary, space(Ring))  # of three units it draws the wrong shape
    with pytest.raises(UserError, match=r"prior ring: .*RuntimeError"):
        build_models(trials(3), summary, space(Ring))
    with pytest.raises(UserError, match=r"prior raises: .*test_own\.py, line \d+: ValueError: my own fault"):
        build_models(trials(2), summary, space(Raises))


def test_built_in_names_are_taken(summary: DataSummary) -> None:
    class Gaussian(Ring):
        name: ClassVar[str] = "gaussian"

    with pytest.raises(UserError, match="there is a built-in prior 'gaussian'"):
        build_models(trials(2), summary, space(Gaussian))
    with pytest.raises(UserError, match="does not define"):
        Components((type("Half", (Density,), {"name": "half"}),))
