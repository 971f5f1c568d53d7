"""The autoencoder and its loss: contract, extreme inputs, latent paths, and a short real training."""

from __future__ import annotations

import pytest
import torch

from study.config import TrialConfig
from study.data.datasets import ImageData
from study.model.autoencoder import Posterior, undecayed
from study.model.building import LIKELIHOODS, NETWORKS, build_autoencoder, build_regularizer
from study.model.loss import compute_loss
from tests.helpers import made_summary, units


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _config(**changes: str | int | float) -> TrialConfig:
    return TrialConfig(latent_dim=3, width=8).replace(**changes)


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "stacked"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("shade", [0.0, 1.0])
def test_network_gradients_are_finite_at_extreme_inputs(network: str, likelihood: str, shade: float) -> None:
    torch.manual_seed(0)
    summary = made_summary(channels=1, height=12, width=12)
    config = _config(network=network, likelihood=likelihood, encoder="gaussian", regularizer="kl", weight=1.0)
    model = build_autoencoder(config.replace(latent_dim=units(network, summary)), summary)
    x = torch.full((4, 1, 12, 12), shade)
    terms = compute_loss(model, build_regularizer(config), x, 1.0, _generator())
    terms.loss.backward()
    assert all(term.isfinite() for term in terms[:3])
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("raw", [-1e6, -100.0, -30.0, 30.0, 100.0, 1e6])
def test_kl_divergence_gradient_is_finite_for_any_log_variance(raw: float) -> None:
    config = _config(encoder="gaussian", regularizer="kl")
    model = build_autoencoder(config, made_summary())
    outputs = torch.full((2, 6), raw, requires_grad=True)
    model.encoder.forward = lambda x: outputs  # type: ignore[method-assign]
    terms = compute_loss(model, build_regularizer(config), torch.rand(2, 1, 8, 8), 1.0, _generator())
    terms.loss.backward()
    assert terms.loss.isfinite()
    assert outputs.grad is not None and outputs.grad.isfinite().all()
    if abs(raw) <= 100:  # it recovers: the gradient step moves the log variance towards the prior's
        assert (outputs.grad[:, 3:].sign() == (1 if raw > 0 else -1)).all()


def test_loss_is_reconstruction_plus_weighted_penalty() -> None:
    config = _config(regularizer="mmd", kernel="imq")
    model, x = build_autoencoder(config, made_summary()), torch.rand(8, 1, 8, 8)
    terms = compute_loss(model, build_regularizer(config), x, torch.tensor(2.5), _generator())
    assert all(term.shape == () for term in terms[:3])
    torch.testing.assert_close(terms.loss, terms.reconstruction + 2.5 * terms.penalty)
    raw = model.decoder(model.encode(x).mu)
    torch.testing.assert_close(terms.reconstruction, 0.5 * (raw - x).square().sum() / 8)
    assert terms.loss.requires_grad and not terms.reconstruction.requires_grad and not terms.penalty.requires_grad


def test_loss_adds_the_optional_terms() -> None:
    config = _config(perceptual_weight=0.1, total_variation_weight=0.2, likelihood="laplace")
    model, x = build_autoencoder(config, made_summary()), torch.rand(8, 1, 8, 8)
    terms = compute_loss(
        model, build_regularizer(config), x, 0.0, _generator(), features=lambda image: image.flatten(1)
    )
    raw = model.decoder(model.encode(x).mu)
    image = raw.clamp(0, 1)
    variation = (image[..., 1:] - image[..., :-1]).square().sum() + (
        image[..., 1:, :] - image[..., :-1, :]
    ).square().sum()
    expected = (raw - x).abs().sum() + 0.1 * (image - x).abs().sum() + 0.2 * variation
    torch.testing.assert_close(terms.loss, expected / 8)
    with pytest.raises(ValueError, match="give a feature extractor"):
        compute_loss(model, build_regularizer(config), x, 0.0, _generator())


def test_posterior_samples_have_its_moments() -> None:
    posterior = Posterior(torch.tensor([[1.0, -2.0]]).expand(20000, 2), torch.tensor([[0.0, 2.0]]).expand(20000, 2))
    z = posterior.sample(_generator())
    torch.testing.assert_close(z.mean(dim=0), torch.tensor([1.0, -2.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(
        z.var(dim=0), torch.tensor([1.0, 2.0]).mul(torch.tensor([1.0, 3.6945])), atol=0.2, rtol=0
    )
    assert Posterior(posterior.mu, None).sample(_generator()) is posterior.mu


def test_samples_depend_on_the_generator_alone() -> None:
    model = build_autoencoder(_config(), made_summary(channels=3)).eval()
    first = model.sample(5, _generator(1))
    torch.manual_seed(7)
    assert torch.equal(first, model.sample(5, _generator(1)))
    assert not torch.equal(first, model.sample(5, _generator(2)))
    assert first.shape == (5, 3, 8, 8) and first.min() >= 0 and first.max() <= 1
    assert model.sample(5, _generator(1), draw=True).std() > first.std()


def test_paths_start_and_end_at_their_reconstructions() -> None:
    model = build_autoencoder(_config(encoder="gaussian"), made_summary()).eval()
    x_a, x_b = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    path = model.interpolate(x_a, x_b, 5)
    assert path.shape == (5, 4, 1, 8, 8)
    torch.testing.assert_close(path[0], model.reconstruct(x_a))
    torch.testing.assert_close(path[4], model.reconstruct(x_b))
    torch.testing.assert_close(path[2], model.decode((model.encode(x_a).mu + model.encode(x_b).mu) / 2))


def test_class_direction_points_from_the_others_to_the_class() -> None:
    model = build_autoencoder(_config(), made_summary()).eval()
    x, labels = torch.rand(12, 1, 8, 8), torch.arange(12) % 3
    direction = model.class_direction(x, labels, 1)
    codes = model.encode(x).mu.detach()
    expected = codes[labels == 1].mean(dim=0) - codes[labels != 1].mean(dim=0)
    torch.testing.assert_close(direction, expected / expected.norm())
    images = model.morph(codes[:2], direction, 3.0, 4)
    torch.testing.assert_close(images[3], model.decode(codes[:2] + 3 * direction))
    with pytest.raises(ValueError, match="class 5"):
        model.class_direction(x, labels, 5)


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_tanh", "laplace", "laplace_tanh"])
@pytest.mark.parametrize("weight", [1.0, 0.02])
def test_log_likelihood_is_a_density_whose_scale_is_the_kls_weight(likelihood: str, weight: float) -> None:
    config = _config(encoder="gaussian", regularizer="kl", likelihood=likelihood, weight=weight)
    model = build_autoencoder(config, made_summary()).double().eval()
    x, z = torch.rand(2, 1, 8, 8, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    center = model.decoder(z)
    if likelihood.endswith("_tanh"):
        center = 0.5 + 0.5 * center.tanh()
    normal = torch.distributions.Normal(center, weight**0.5)
    density = normal if likelihood.startswith("gaussian") else torch.distributions.Laplace(center, weight)
    torch.testing.assert_close(model.log_likelihood(x, z), density.log_prob(x).sum(dim=(1, 2, 3)))


def test_the_loss_is_the_weight_times_the_negative_elbo() -> None:
    """Two models' losses differ by w times the difference of their ELBOs, so both have the same optimum."""
    differences = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = _config(encoder="gaussian", regularizer="kl", weight=0.05)
        model = build_autoencoder(config, made_summary()).double().eval()
        x = torch.rand(4, 1, 8, 8, dtype=torch.float64, generator=_generator())
        terms = compute_loss(model, build_regularizer(config), x, config.weight, _generator())
        elbo = model.log_likelihood(x, terms.codes).mean() - terms.penalty
        differences.append((float(terms.loss.detach()), -0.05 * float(elbo.detach())))
    (loss, bound), (other_loss, other_bound) = differences
    assert loss - other_loss == pytest.approx(bound - other_bound, rel=1e-9)


@pytest.mark.parametrize(("regularizer", "weight"), [("none", 0.0), ("mmd", 0.3), ("kl", 0.0)])
def test_without_a_kls_weight_only_a_learned_variance_has_a_likelihood(regularizer: str, weight: float) -> None:
    changes = {"encoder": "gaussian", "regularizer": regularizer, "weight": weight}
    model = build_autoencoder(_config(**changes), made_summary())
    with pytest.raises(ValueError, match="weight above 0"):
        model.log_likelihood(torch.rand(2, 1, 8, 8), torch.randn(2, 3))
    learned = build_autoencoder(_config(**changes, likelihood="gaussian_scalar"), made_summary())
    assert learned.log_likelihood(torch.rand(2, 1, 8, 8), torch.randn(2, 3)).isfinite().all()


def test_the_likelihoods_scale_is_the_weight_that_training_came_to() -> None:
    changes = {"encoder": "gaussian", "weight": 0.1, "target_error": 0.02}
    model = build_autoencoder(_config(**changes, regularizer="kl"), made_summary())
    assert model.likelihood_scale == pytest.approx(0.1)
    model.adapted_weight.fill_(0.7)
    again = build_autoencoder(_config(**changes, regularizer="kl"), made_summary())
    again.load_state_dict(model.state_dict())
    assert again.likelihood_scale == pytest.approx(0.7)
    x, z = torch.rand(2, 1, 8, 8), torch.randn(2, 3)
    expected = torch.distributions.Normal(again.decoder(z), 0.7**0.5).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(again.log_likelihood(x, z).float(), expected)
    assert build_autoencoder(_config(**changes, regularizer="mmd"), made_summary()).likelihood_scale is None
    assert "adapted_weight" not in build_autoencoder(_config(), made_summary()).state_dict()  # as ever


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_scalar"])
def test_matrices_and_kernels_of_both_networks_decay_and_nothing_else(network: str, likelihood: str) -> None:
    summary = made_summary(channels=1, height=12, width=12)
    config = _config(network=network, likelihood=likelihood, latent_dim=units(network, summary))
    model = build_autoencoder(config, summary)
    spared = set(map(id, undecayed(model)))
    layers = [*model.encoder.modules(), *model.decoder.modules()]
    kinds = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    weights = {id(layer.weight) for layer in layers if isinstance(layer, kinds)}
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert weights and trained - spared == weights
    assert set(map(id, model.likelihood.parameters())) <= spared


def test_draws_scatter_by_the_trained_variance() -> None:
    torch.manual_seed(0)
    config = _config(encoder="gaussian", regularizer="kl", weight=0.0004)
    model = build_autoencoder(config, made_summary()).eval()
    torch.nn.init.zeros_(list(model.decoder.parameters())[-2])  # one image for every code
    torch.nn.init.constant_(list(model.decoder.parameters())[-1], 0.5)
    assert model.sample(500, _generator(), draw=True).std().item() == pytest.approx(0.02, rel=0.02)


def test_autoencoder_beats_pca_on_digits(digits: ImageData) -> None:
    x = digits.train.images.float() / 255
    validation = digits.validation.images.float() / 255
    mean = x.flatten(1).mean(dim=0)
    axes = torch.linalg.svd(x.flatten(1) - mean, full_matrices=False).Vh[:8]
    centred = validation.flatten(1) - mean
    pca = (centred - centred @ axes.T @ axes).square().mean()
    config = TrialConfig(latent_dim=8, learning_rate=4e-3)
    torch.manual_seed(0)
    model = build_autoencoder(config, digits.summary)
    regularizer, generator = build_regularizer(config), _generator()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    for _ in range(30):
        for batch in torch.randperm(len(x), generator=generator).split(64):
            optimizer.zero_grad()
            compute_loss(model, regularizer, x[batch], 0.0, generator).loss.backward()
            optimizer.step()
    assert (model.reconstruct(validation) - validation).square().mean() < pca
