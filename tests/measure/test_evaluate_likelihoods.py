"""ELBO and IWAE bound against closed forms, and what they say of a weight sweep."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from study.config import TrialConfig
from study.data.datasets import ImageData
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator
from study.model.autoencoder import LOGVAR_MIDDLE, LOGVAR_REACH, Autoencoder
from study.model.building import build_likelihood
from study.training.loop import train

PIXELS, LATENT = 64, 8
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1)
"""Weights of a sweep, as multiples of the data's total variance; at the last one the posterior has collapsed."""


@pytest.fixture(scope="module")
def evaluator(digits: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return Evaluator(digits, prepare_context(digits, tmp_path_factory.mktemp("cache")))


def linear_vae(data: ImageData, weight: float, *, rotated: bool) -> tuple[Autoencoder, Tensor]:
    """Probabilistic PCA (Tipping & Bishop 1999, eq. 15) as an `Autoencoder`, and its log p(x) of the validation split.

    Args:
        data: Images of 64 pixels.
        weight: The noise's variance, and the weight of the KL under which this model is a VAE's optimum.
        rotated: Mix the latent units. log p(x) stays as it is, but the exact posterior is then no longer diagonal, and
            the encoder gives the best diagonal one.
    """
    x = data.train.images.flatten(1).double() / 255
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    loadings = vectors[:, -LATENT:] * (values[-LATENT:] - weight).clamp(min=0).sqrt()  # [64, d]
    if rotated:
        generator = torch.Generator().manual_seed(0)
        loadings = loadings @ torch.linalg.qr(torch.randn(LATENT, LATENT, generator=generator).double())[0]
    precision = loadings.T @ loadings / weight + torch.eye(LATENT).double()
    gain = torch.linalg.solve(precision, loadings.T) / weight  # [d, 64]
    logvar = -precision.diagonal().log()

    config = TrialConfig(encoder="gaussian", regularizer="kl", weight=weight, latent_dim=LATENT)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 2 * LATENT))
    decoder = nn.Sequential(nn.Linear(LATENT, PIXELS), nn.Unflatten(1, (1, 8, 8)))
    model = Autoencoder(config, data.summary, encoder, decoder, build_likelihood(config, data.summary))
    squashed = LOGVAR_MIDDLE + LOGVAR_REACH * torch.atanh((logvar - LOGVAR_MIDDLE) / LOGVAR_REACH)
    zeros = torch.zeros(LATENT, PIXELS).double()
    model.load_state_dict(
        {
            "encoder.1.weight": torch.cat([gain, zeros]),
            "encoder.1.bias": torch.cat([-gain @ mean, squashed]),
            "decoder.0.weight": loadings,
            "decoder.0.bias": mean,
        }
    )
    covariance = loadings @ loadings.T + weight * torch.eye(PIXELS).double()
    marginal = torch.distributions.MultivariateNormal(mean, covariance)
    return model, marginal.log_prob(data.validation.images.flatten(1).double() / 255)


@pytest.mark.parametrize("weight", [1.0, 0.1, 0.02])
def test_elbo_and_iwae_of_a_linear_vae_are_its_exact_marginal(
    evaluator: Evaluator, digits: ImageData, weight: float
) -> None:
    """Both bounds are tight when the posterior is exact. At unit variance they would be off by more than 50 nats."""
    model, exact = linear_vae(digits, weight, rotated=False)
    metrics = evaluator.search_metrics(model, ["nll"])
    assert -metrics["nll"] == pytest.approx(float(exact.mean()), abs=2e-3)
    assert metrics["elbo"] == pytest.approx(float(exact.mean()), abs=0.15)  # one code for each image
    if weight < 1:
        assert metrics["active_units"] > 0
        unit = -metrics["distortion"] - 0.5 * PIXELS * math.log(2 * math.pi) - metrics["kl"]
        assert unit < float(exact.mean()) - 50


@pytest.mark.parametrize(("weight", "slack"), [(1.0, 1e-3), (0.1, 0.1), (0.02, 0.1)])
def test_bounds_of_a_linear_vae_with_an_inexact_posterior_stay_below(
    evaluator: Evaluator, digits: ImageData, weight: float, slack: float
) -> None:
    """`slack` is how far below log p(x) 64 samples may leave the bound, in nats; the ELBO is .4 below."""
    model, exact = linear_vae(digits, weight, rotated=True)
    metrics = evaluator.search_metrics(model, ["nll"])
    assert metrics["elbo"] <= -metrics["nll"] + 0.02
    assert -slack < -metrics["nll"] - float(exact.mean()) < 0.02


def test_a_collapsed_model_is_not_the_best_of_a_weight_sweep(evaluator: Evaluator, digits: ImageData) -> None:
    """At unit variance it would be: that is the wrong model for every weight but 1."""
    elbo, iwae, unit, points = [], [], [], []
    for share in SHARES:
        weight = share * digits.summary.total_variance
        config = TrialConfig(encoder="gaussian", regularizer="kl", weight=weight, epochs=20)
        for result in train(config, digits, evaluate=lambda model: evaluator.search_metrics(model, ["nll"])):
            metrics = result.metrics
        elbo.append(metrics["elbo"])
        iwae.append(-metrics["nll"])
        unit.append(-metrics["distortion"] - metrics["kl"])
        points.append((weight, metrics["distortion"], metrics["kl"]))
    assert metrics["kl"] < 0.05  # the last has collapsed
    for values in (elbo, iwae):
        assert max(values) == max(values[1:3])
        assert values[2] > values[3] > values[4] and max(values) > values[4] + 30
    assert unit == sorted(unit)
    # Optimal trials' rates and distortions lie on a convex curve, whose slope at each of them is minus its weight.
    for (low, less, more), (high, further, lower) in itertools.pairwise(points[1:]):
        assert 0.9 * low < (further - less) / (more - lower) < 1.1 * high
