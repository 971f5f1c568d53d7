"""The two-stage network: the first stage's contract, and that trials are measured in image space."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

import study.model.stacked as stacked
from study.config import TrialConfig, UserError
from study.data.datasets import ImageData
from study.model.building import LIKELIHOODS, build_autoencoder, build_regularizer
from study.model.loss import compute_loss
from study.model.stacked import FirstStage, train_first_stage
from tests.helpers import made_summary

CONFIG = TrialConfig(network="stacked", latent_dim=8, width=64)


@pytest.fixture(scope="module")
def stage(digits: ImageData) -> Iterator[FirstStage]:
    torch.set_num_threads(1)  # module fixtures run before the fixture that sets this for each test
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked, "LEAST_STEPS", 500)
        yield train_first_stage(digits.summary, digits.train.images)


def test_first_stage_of_the_stacked_network_is_nearly_lossless(digits: ImageData, stage: FirstStage) -> None:
    mean_image = digits.summary.total_variance / 64
    assert stage.reconstruction_mse(digits.validation.images) < 0.1 * mean_image
    x = digits.validation.images.float() / 255
    expected = (stage.decode(stage.encode(x)) - x).square().mean().item()
    assert stage.reconstruction_mse(digits.validation.images) == pytest.approx(expected, rel=1e-4)


def test_codes_of_the_stacked_network_have_the_variance_of_the_pixels(digits: ImageData, stage: FirstStage) -> None:
    codes = stage.encode_all(digits.train.images)
    assert codes.shape[1:] == stage.summary.shape == (10, 2, 2)
    assert codes.var(dim=0, correction=0).sum().item() == pytest.approx(digits.summary.total_variance, rel=1e-3)


def test_stacked_network_trains_on_codes_and_answers_in_images(digits: ImageData, stage: FirstStage) -> None:
    torch.manual_seed(0)
    model = build_autoencoder(CONFIG, digits.summary)
    assert model.first_stage is not None
    model.first_stage.load_state_dict(stage.state_dict())
    before = {name: value.clone() for name, value in model.first_stage.state_dict().items()}
    codes = stage.encode_all(digits.train.images)
    regularizer, generator = build_regularizer(CONFIG), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    for _ in range(30):
        for batch in torch.randperm(len(codes), generator=generator).split(64):
            optimizer.zero_grad()
            compute_loss(model, regularizer, codes[batch], 0.0, generator).loss.backward()
            optimizer.step()
    x = digits.validation.images.float() / 255
    images = model.reconstruct(x)
    assert images.shape == x.shape and images.min() >= 0 and images.max() <= 1
    assert (images - x).square().mean() < 0.4 * digits.summary.total_variance / 64
    assert model.sample(3).shape == (3, 1, 8, 8)
    assert model.interpolate(x[:2], x[2:4], 5).shape == (5, 2, 1, 8, 8)
    assert all(torch.equal(before[name], value) for name, value in model.first_stage.state_dict().items())


def test_the_likelihood_of_a_stacked_vae_is_of_codes(digits: ImageData, stage: FirstStage) -> None:
    torch.manual_seed(0)
    model = build_autoencoder(CONFIG.replace(encoder="gaussian", regularizer="kl", weight=0.1), digits.summary)
    assert model.first_stage is not None
    model.first_stage.load_state_dict(stage.state_dict())
    codes, z = model.inputs(digits.validation.images[:2].float() / 255), torch.zeros(2, 8)
    normal = torch.distributions.Normal(model.decoder(z).double(), 0.1**0.5)
    expected = normal.log_prob(codes.double()).sum(dim=(1, 2, 3))
    torch.testing.assert_close(model.log_likelihood(codes, z), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (32, 32), (64, 64), (13, 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_stacked_network_shapes(channels: int, height: int, width: int) -> None:
    first = FirstStage(made_summary(channels, height, width))
    assert first.summary.shape == (10, math.ceil(height / 4), math.ceil(width / 4))
    x = torch.rand(2, channels, height, width)
    assert first.encode(x).shape == (2, *first.summary.shape)
    assert first.decode(first.encode(x)).shape == x.shape


@pytest.mark.parametrize("likelihood", [name for name, found in LIKELIHOODS.items() if found.unbounded])
@pytest.mark.parametrize("shade", [0.0, 1.0, 1e4])
def test_stacked_network_gradients_are_finite_at_extreme_inputs(
    digits: ImageData, stage: FirstStage, likelihood: str, shade: float
) -> None:
    config = CONFIG.replace(likelihood=likelihood, encoder="gaussian", regularizer="kl")
    model = build_autoencoder(config, digits.summary)
    codes = stage.encode(torch.full((4, 1, 8, 8), shade))
    terms = compute_loss(model, build_regularizer(config), codes, 1.0, torch.Generator().manual_seed(0))
    terms.loss.backward()
    assert terms.loss.isfinite()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)


def test_untrained_first_stage_cannot_pass_for_a_trained_one() -> None:
    assert build_autoencoder(CONFIG, made_summary()).reconstruct(torch.rand(2, 1, 8, 8)).isnan().all()


def test_collapsed_first_stage_is_refused(digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "LEAST_STEPS", 20)
    monkeypatch.setattr(stacked, "EPOCHS", 0)
    monkeypatch.setattr(stacked, "LEARNING_RATE", 30.0)
    with pytest.raises(UserError, match="collapsed"):
        train_first_stage(digits.summary, digits.train.images)


@pytest.mark.parametrize("changes", [{"likelihood": "bernoulli"}, {"perceptual_weight": 0.1}])
def test_stacked_network_refuses_terms_of_pixels(changes: dict[str, str | float]) -> None:
    with pytest.raises(UserError, match="reconstructs codes"):
        build_autoencoder(CONFIG.replace(**changes), made_summary())
    model = build_autoencoder(CONFIG, made_summary())
    with pytest.raises(UserError, match="no likelihood of pixels"):
        model.sample(2, draw=True)
