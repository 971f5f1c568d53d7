"""Every regularizer: a finite penalty in its own unit; the more complex ones against values by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from study.built_in import METHODS
from study.config import TrialConfig, UserError
from study.model.autoencoder import Autoencoder, Posterior
from study.model.building import REGULARIZERS, build_autoencoder, build_regularizer
from study.model.divergences import squared_mmd
from study.model.loss import compute_loss
from study.model.regularizers.adversarial import Adversarial
from tests.helpers import made_summary


def _config(name: str, encoder: str = "") -> TrialConfig:
    """Of a regularizer, with the encoder given, else a Gaussian one if it goes with it."""
    encoder = encoder or ("gaussian" if "gaussian" in REGULARIZERS[name].methods else "deterministic")
    kernel = "imq" if REGULARIZERS[name].uses_kernel else "none"
    return TrialConfig(regularizer=name, encoder=encoder, kernel=kernel, latent_dim=3, width=8)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _penalty(name: str, mu: torch.Tensor, logvar: torch.Tensor, model: Autoencoder | None = None) -> torch.Tensor:
    config = _config(name)
    posterior = Posterior(mu, logvar)
    model = model or build_autoencoder(config, made_summary())
    return build_regularizer(config)(model, posterior, posterior.sample(_generator(1)), _generator(2))


@pytest.mark.parametrize("name", REGULARIZERS)
def test_regularizer_gives_a_finite_scalar_with_a_gradient(name: str) -> None:
    mu, logvar = torch.randn(8, 3, requires_grad=True), torch.randn(8, 3, requires_grad=True)
    penalty = _penalty(name, mu, logvar)
    assert penalty.shape == () and penalty.isfinite()
    if name == "none":
        assert penalty == 0
        return
    penalty.backward()
    assert mu.grad is not None and mu.grad.abs().sum() > 0


EXTREMES = {
    "zero": torch.zeros(8, 3),
    "identical": torch.full((8, 3), 2.0),
    "identical and far": torch.full((8, 3), 1e4),
    "far apart": 1e4 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("logvar", [None, -20.0, 10.0])
@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("name", REGULARIZERS)
def test_regularizer_gradients_are_finite_at_extreme_codes(name: str, extreme: str, logvar: float | None) -> None:
    encoder = "deterministic" if logvar is None else "gaussian"
    if encoder not in REGULARIZERS[name].methods:
        pytest.skip(f"has no {encoder} encoder")
    config = _config(name, encoder)
    mu = EXTREMES[extreme].clone().requires_grad_()
    spread = None if logvar is None else torch.full((8, 3), logvar, requires_grad=True)
    model, regularizer = build_autoencoder(config, made_summary()), build_regularizer(config)
    posterior = Posterior(mu, spread)
    z = posterior.sample(_generator(1))
    penalty = regularizer(model, posterior, z, _generator(2))
    assert penalty.isfinite()
    if isinstance(regularizer, Adversarial):
        penalty = penalty + regularizer.critic_loss(z, _generator(3))
    if name != "none":
        penalty.backward()
    moments = [mu] if spread is None else [mu, spread]
    assert name == "none" or all(moment.grad is not None for moment in moments)
    values = [*moments, *model.parameters(), *regularizer.parameters()]
    assert all(value.grad is None or value.grad.isfinite().all() for value in values)


@pytest.mark.parametrize("name", [name for name in REGULARIZERS if name not in ("none", "rae_l2", "adversarial")])
def test_regularizer_prefers_the_prior(name: str) -> None:
    zeros = torch.zeros(1024, 3)
    at_prior = _penalty(name, zeros, zeros)
    assert at_prior.abs() < 0.1
    unit = 0.3 if name == "cramer_wold" else 1.0  # no codes are farther from the prior than that
    assert _penalty(name, zeros + 2, zeros) > at_prior + 0.5 * unit  # shifted
    assert _penalty(name, zeros, zeros - 8) > at_prior + 0.2 * unit  # shrunk to a point


@pytest.mark.parametrize("name", REGULARIZERS)
def test_regularizer_is_reproducible_from_its_generator(name: str) -> None:
    torch.manual_seed(0)
    config = _config(name)
    model, regularizer = build_autoencoder(config, made_summary()), build_regularizer(config)
    x = torch.rand(8, 1, 8, 8)
    losses = [compute_loss(model, regularizer, x, 1.0, _generator(3)).loss.item() for _ in range(2)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("pair", METHODS.values(), ids=list(METHODS))
def test_regularizer_of_every_method_trains(pair: tuple[str, str]) -> None:
    encoder, name = pair
    torch.manual_seed(0)
    config = _config(name, encoder)
    model, regularizer = build_autoencoder(config, made_summary()), build_regularizer(config)
    x = torch.rand(16, 1, 8, 8, generator=_generator())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator, losses = _generator(1), []
    for _ in range(60):
        optimizer.zero_grad()
        terms = compute_loss(model, regularizer, x, 0.01, generator)
        terms.loss.backward()
        optimizer.step()
        losses.append(terms.reconstruction.item())
    assert losses[-1] < 0.7 * losses[0]
    assert (list(regularizer.parameters()) == []) == (name != "adversarial")


def test_kl_regularizer_is_the_mean_over_images() -> None:
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    torch.testing.assert_close(_penalty("kl", mu, logvar), expected)


def test_info_vae_regularizer_adds_kl_and_mmd() -> None:
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    z, prior = Posterior(mu, logvar).sample(_generator(1)), torch.randn(5, 3, generator=_generator(2))
    expected = _penalty("kl", mu, logvar) + 10 * squared_mmd(z, prior, "imq")
    torch.testing.assert_close(_penalty("info_vae", mu, logvar), expected)


@pytest.mark.parametrize(("dim", "tolerance"), [(1, 1e-5), (2, 0.02), (3, 0.02), (8, 0.05), (24, 0.03)])
def test_cramer_wold_is_the_mean_over_directions_of_smoothed_distances(dim: int, tolerance: float) -> None:
    codes = 0.6 * torch.randn(32, dim, generator=_generator(5)) + 0.4
    config = TrialConfig(regularizer="cramer_wold", latent_dim=dim, width=8)
    model = build_autoencoder(config, made_summary())
    found = build_regularizer(config)(model, Posterior(codes, None), codes, None).item()
    # The definition: L2 distance of the smoothed densities of both projections, on a grid; the mean over directions.
    directions = torch.nn.functional.normalize(torch.randn(dim, 2000, generator=_generator(6)), dim=0)
    points = torch.linspace(-12, 12, 2401)
    width = (4 / (3 * len(codes))) ** 0.4
    prior = Normal(0.0, math.sqrt(1 + width)).log_prob(points).exp()
    distances = []
    for projected in (codes @ directions).T:
        density = Normal(projected[:, None], math.sqrt(width)).log_prob(points).exp().mean(dim=0)
        distances.append(torch.trapezoid((density - prior).square(), points).item())
        if dim == 1:
            break
    assert found == pytest.approx(sum(distances) / len(distances), rel=tolerance)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 8])
def test_cramer_wold_is_least_near_the_prior(dim: int) -> None:
    regularizer = build_regularizer(TrialConfig(regularizer="cramer_wold", latent_dim=dim, width=8))
    model = build_autoencoder(_config("none"), made_summary())
    codes = torch.randn(2000, dim, generator=_generator(3))
    scales = torch.linspace(0.7, 1.3, 13).tolist()
    found = [regularizer(model, Posterior(s * codes, None), s * codes, None).item() for s in scales]
    assert scales[found.index(min(found))] == pytest.approx(0.95 if dim > 3 else 1.0, abs=0.051)


def test_rae_regularizer_by_hand() -> None:
    model = build_autoencoder(_config("rae_l2"), made_summary())
    for parameter in model.decoder.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    count = sum(parameter.numel() for parameter in model.decoder.parameters())
    penalty = _penalty("rae_l2", torch.full((4, 3), 2.0), torch.full((4, 3), -1e3), model)
    assert penalty.item() == pytest.approx(0.5 * 3 * 4 + 1e-3 * 0.5 * count * 0.01, rel=1e-5)


def test_adversarial_regularizer_keeps_the_two_players_apart() -> None:
    regularizer = build_regularizer(_config("adversarial"))
    assert isinstance(regularizer, Adversarial)
    z = torch.randn(8, 3, requires_grad=True)
    model = build_autoencoder(_config("adversarial"), made_summary())
    regularizer(model, Posterior(z, None), z, _generator()).backward()
    assert z.grad is not None and z.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in regularizer.critic.parameters())
    z.grad = None
    regularizer.critic_loss(z, _generator()).backward()
    assert z.grad is None
    assert all(p.grad is not None for p in regularizer.critic.parameters() if p.ndim == 2)


def test_adversarial_regularizer_of_a_blind_critic_is_log_two() -> None:
    regularizer = build_regularizer(_config("adversarial"))
    assert isinstance(regularizer, Adversarial)
    for parameter in regularizer.critic.parameters():
        torch.nn.init.zeros_(parameter)
    z = torch.randn(8, 3)
    model = build_autoencoder(_config("adversarial"), made_summary())
    assert regularizer(model, Posterior(z, None), z, _generator()).item() == pytest.approx(math.log(2))
    loss = regularizer.critic_loss(z, _generator())
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()  # the gradient penalty at a slope of exactly zero
    assert all(value.grad is not None and value.grad.isfinite().all() for value in regularizer.parameters())


def test_adversarial_regularizer_brings_codes_to_the_prior() -> None:
    torch.manual_seed(0)
    regularizer = build_regularizer(_config("adversarial"))
    assert isinstance(regularizer, Adversarial)
    model = build_autoencoder(_config("adversarial"), made_summary())
    z = (0.2 * torch.randn(64, 3, generator=_generator()) + 1.5).requires_grad_()
    codes, critic = torch.optim.Adam([z], lr=0.02), torch.optim.Adam(regularizer.parameters(), lr=2e-3)
    generator, held_out = _generator(1), torch.randn(512, 3, generator=_generator(2))
    before = squared_mmd(z.detach(), held_out, "imq")
    for _ in range(300):
        codes.zero_grad()
        regularizer(model, Posterior(z, None), z, generator).backward()
        codes.step()
        critic.zero_grad()
        regularizer.critic_loss(z, generator).backward()
        critic.step()
    assert squared_mmd(z.detach(), held_out, "imq") < 0.1 * before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regularizer": "no such"}, r"choose from adversarial, .*kl, .*sliced_wasserstein"),
        ({"regularizer": "kl"}, "needs encoder=gaussian"),
        ({"regularizer": "info_vae", "kernel": "imq"}, "needs encoder=gaussian"),
        ({"regularizer": "mmd"}, "needs imq or rbf"),
        ({"regularizer": "mmd", "kernel": "linear"}, "needs imq or rbf"),
    ],
)
def test_regularizer_refuses_what_does_not_suit_it(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_regularizer(TrialConfig().replace(**changes))
