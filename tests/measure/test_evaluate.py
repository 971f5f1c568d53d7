"""The evaluator as a whole: what it measures, what it must not change, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from study.config import TrialConfig
from study.data.datasets import ImageData
from study.data.splits import Split
from study.measure import evaluate
from study.measure.comparison import FeatureSet, fid
from study.measure.context import EvaluationContext, generated_count, prepare_context
from study.measure.evaluate import Evaluator
from study.measure.generated import PRIOR_SEED
from study.measure.metrics import FITTED, METRICS, MetricError
from study.model.autoencoder import Autoencoder, Posterior
from study.model.building import build_autoencoder
from study.model.likelihoods.gaussian import GaussianPixel, GaussianScalar
from study.training.loop import train
from tests.helpers import made_summary

GAUSSIAN_ONLY = {"kl", "active_units", "nll", "sigma_low", "sigma_high", "distortion", "log_likelihood", "elbo"}


@pytest.fixture(scope="module")
def context(digits: ImageData, cache: Path) -> EvaluationContext:
    return prepare_context(digits, cache)


@pytest.fixture(scope="module")
def evaluator(digits: ImageData, context: EvaluationContext) -> Evaluator:
    return Evaluator(digits, context)


def model(encoder: str = "gaussian", **changes: Any) -> Autoencoder:
    torch.manual_seed(3)
    method = {"regularizer": "kl", "weight": 0.1} if encoder == "gaussian" else {}
    config = TrialConfig(encoder=encoder, latent_dim=4, width=16).replace(**{**method, **changes})
    return build_autoencoder(config, made_summary())


class Copier(nn.Module):
    """An autoencoder whose codes are the pixels, so it reconstructs perfectly."""

    latent_dim = 64

    def inputs(self, x: Tensor) -> Tensor:
        return x

    def posterior(self, x: Tensor) -> Posterior:
        return Posterior(x.flatten(1), None)

    encode = posterior

    def decode(self, z: Tensor) -> Tensor:
        return z.unflatten(1, (1, 8, 8)).clamp(0, 1)


def of_split(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    """A split's metrics without its prefix."""
    return {name.removeprefix(f"{prefix}/"): value for name, value in metrics.items() if name.startswith(f"{prefix}/")}


def test_context_of_the_digits(context: EvaluationContext, digits: ImageData) -> None:
    summary = context.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["instrument"]["accuracy"] >= 0.95
    assert summary["samples"] == {"validation": 3_000, "test": 3_000}
    assert [generated_count(real) for real in (60, 149, 150, 3_000, 5_000)] == [1_200, 2_980, 3_000, 3_000, 5_000]
    assert summary["images"] == {"validation": 360, "test": 360}
    assert set(summary["real_data"]["validation"]) <= set(METRICS)
    assert summary["real_data"]["validation"]["sample_fid"] < 1
    assert summary["real_data"]["validation"]["precision"] > 0.9
    assert summary["pca"]["test"]["8"] == pytest.approx(0.0238, abs=1e-3)
    assert pickle.loads(pickle.dumps(context)).summary() == summary


def test_the_context_is_cached_by_content(
    digits: ImageData, context: EvaluationContext, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.measure.instrument.train_networks", None)  # would fail if anything were trained
    monkeypatch.setattr("study.measure.context.pca_errors", None)  # or computed
    again = prepare_context(digits, cache)
    assert again.summary() == context.summary()
    assert all(np.array_equal(again.first.features[name], known) for name, known in context.first.features.items())
    other = dataclasses.replace(digits, summary=dataclasses.replace(digits.summary, hash="another"))
    with pytest.raises(TypeError):
        prepare_context(other, cache)


def test_metrics_of_a_perfect_copy(evaluator: Evaluator) -> None:
    metrics = evaluator.search_metrics(cast(Autoencoder, Copier()))
    assert metrics["reconstruction_mse"] == 0
    assert metrics["reconstruction_fid"] == pytest.approx(0, abs=1e-5)
    assert metrics["sample_fid"] > 1
    assert set(metrics) == {"reconstruction_mse", "reconstruction_fid", "sample_fid", "latent_rms", "mu_low", "mu_high"}
    assert (metrics["mu_low"], metrics["mu_high"]) == (0, 1)  # the darkest and the brightest pixel


def test_metrics_of_reconstructions_against_the_definition(evaluator: Evaluator, digits: ImageData) -> None:
    autoencoder = model().eval()
    metrics = evaluator.search_metrics(autoencoder)
    x = digits.validation.images.float() / 255
    posterior = autoencoder.encode(x)
    assert posterior.logvar is not None
    assert metrics["reconstruction_mse"] == pytest.approx(float((autoencoder.reconstruct(x) - x).square().mean()), 1e-5)
    variance = posterior.logvar.detach().exp()
    mu = posterior.mu.detach()
    kl = 0.5 * (mu.square() + variance - variance.log() - 1).sum(1).mean()
    assert metrics["kl"] == pytest.approx(float(kl), rel=1e-4)
    assert metrics["latent_rms"] == pytest.approx(float((mu.square() + variance).mean().sqrt()), rel=1e-5)
    assert (metrics["mu_low"], metrics["mu_high"]) == pytest.approx((float(mu.min()), float(mu.max())), rel=1e-5)
    sigma = variance.sqrt()
    ends = float(sigma.min()), float(sigma.max())
    assert (metrics["sigma_low"], metrics["sigma_high"]) == pytest.approx(ends, rel=1e-5)
    scale = evaluator.context.first.scale
    with torch.no_grad():
        features = [evaluator.features(images).numpy() * scale for images in (x, autoencoder.reconstruct(x))]
    assert metrics["reconstruction_fid"] == pytest.approx(fid(*features), rel=1e-3)


@pytest.mark.parametrize("weight", [1.0, 0.02])
@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_scalar", "gaussian_pixel", "laplace", "bernoulli"])
def test_elbo_and_its_terms_against_distributions(
    evaluator: Evaluator, digits: ImageData, likelihood: str, weight: float
) -> None:
    """A fixed likelihood's variance, or scale, is the KL's weight; the others are measured as they were trained."""
    autoencoder = model(likelihood=likelihood, weight=weight).eval()
    metrics = evaluator.search_metrics(autoencoder)
    x = digits.validation.images.float() / 255
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        mu, logvar = autoencoder.encode(x)
        assert logvar is not None
        q = torch.distributions.Normal(mu, (logvar / 2).exp())
        bounds = []
        for _ in range(20):
            z = torch.normal(q.mean, q.stddev, generator=generator)
            raw = autoencoder.decoder(z)
            if likelihood == "laplace":
                p = torch.distributions.Laplace(raw, weight)
            elif likelihood == "bernoulli":
                p = torch.distributions.Bernoulli(logits=raw, validate_args=False)
            elif isinstance(autoencoder.likelihood, GaussianScalar):
                p = torch.distributions.Normal(raw, (autoencoder.likelihood.logvar / 2).exp())
            elif isinstance(autoencoder.likelihood, GaussianPixel):
                centre, log_variance = autoencoder.likelihood.parameters_of(raw)
                p = torch.distributions.Normal(centre, (log_variance / 2).exp())
            else:
                p = torch.distributions.Normal(raw, weight**0.5)
            bounds.append(p.log_prob(x).flatten(1).sum(1).mean())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert metrics["log_likelihood"] == pytest.approx(float(torch.stack(bounds).mean()), rel=5e-3)
    assert metrics["kl"] == pytest.approx(float(kl), rel=1e-4)
    assert metrics["elbo"] == metrics["log_likelihood"] - metrics["kl"]


def test_elbo_is_below_the_importance_weighted_bound(evaluator: Evaluator) -> None:
    metrics = evaluator.final_metrics(model())
    assert metrics["val/elbo"] <= -metrics["val/nll"] + 0.05  # nll uses 360 of the images and 64 draws


@pytest.mark.parametrize("encoder", ["deterministic", "gaussian"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_metrics_final_set_is_complete_and_agrees_with_search(evaluator: Evaluator, encoder: str, split: str) -> None:
    autoencoder = model(encoder)
    final = of_split(split, evaluator.final_metrics(autoencoder))
    assert set(final) == set(METRICS) - (GAUSSIAN_ONLY if encoder == "deterministic" else set())
    assert all(type(value) is float and math.isfinite(value) for value in final.values())
    assert final["prior_gap"] == final["sample_fid"] - final["fitted_fid"]
    search = evaluator.search_metrics(autoencoder)
    assert set(search) < set(final)
    if split == "val":
        assert {name: final[name] for name in search} == search


def test_what_a_model_generates_is_made_once_for_both_splits(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    decoded = Evaluator.images

    def noting(self: Evaluator, model: Autoencoder, z: Tensor) -> Any:
        made.append(len(z))
        return decoded(self, model, z)

    monkeypatch.setattr(Evaluator, "images", noting)
    metrics = evaluator.final_metrics(model())
    # midpoints of each split; both networks look at samples of both priors, the first at those of ten Gaussians
    assert sorted(made) == [360, 360, *[3_000] * 5]
    assert metrics["val/sample_fid"] != metrics["test/sample_fid"]
    made.clear()
    few = dataclasses.replace(evaluator.context, samples={"validation": 3_000, "test": 500})
    uneven = Evaluator(evaluator.data, few).final_metrics(model())
    assert sorted(made) == [360, 360, *[500] * 5, *[3_000] * 5]
    assert uneven["val/sample_fid"] == metrics["val/sample_fid"]


def test_metrics_of_the_fitted_prior_are_those_of_its_samples(evaluator: Evaluator) -> None:
    autoencoder = model("deterministic")
    found = evaluator.final_measurement(autoencoder)
    codes = found.prior.sample(3_000, torch.Generator().manual_seed(PRIOR_SEED))
    with torch.no_grad():
        images = autoencoder.decode(codes)
        first = evaluator.context.first.feature_set([evaluator.features(images)])
        assert evaluator.second is not None and evaluator.context.second is not None
        second = evaluator.context.second.feature_set([evaluator.second(images)])
    real = FeatureSet(evaluator.context.first.features["test"])
    real_second = FeatureSet(evaluator.context.second.features["test"])
    assert found.metrics["test/fitted_fid"] == pytest.approx(real.fid(first), rel=1e-4)
    assert found.metrics["test/fitted_coverage"] == pytest.approx(real.neighbourhood(first).coverage, abs=0.01)
    assert found.metrics["test/fitted_second_fid"] == pytest.approx(real_second.fid(second), rel=1e-4)
    assert found.metrics["val/prior_components"] == found.prior.components >= 1


def test_metrics_are_repeatable_and_leave_no_trace(digits: ImageData, context: EvaluationContext) -> None:
    autoencoder = model()
    autoencoder.train()
    autoencoder.decoder.eval()
    modes = [module.training for module in autoencoder.modules()]
    weights = {name: value.clone() for name, value in autoencoder.state_dict().items()}
    torch.manual_seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    first = [Evaluator(digits, context).search_metrics(autoencoder) for _ in range(2)]
    last = [Evaluator(digits, context).final_metrics(autoencoder) for _ in range(2)]
    assert first[0] == first[1] and last[0] == last[1]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    assert random.getstate() == before[2]
    assert [module.training for module in autoencoder.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in autoencoder.state_dict().items())
    assert torch.is_grad_enabled()


def test_measuring_metrics_never_changes_training(few_digits: ImageData, evaluator: Evaluator) -> None:
    config = TrialConfig(epochs=3, latent_dim=4, width=16, encoder="gaussian", regularizer="kl", weight=0.01)

    def trained(measure: Any) -> dict[str, Tensor]:
        for result in train(config, few_digits, evaluate=measure):
            state = result.model.state_dict()
        return state

    plain, measured = trained(lambda _: {}), trained(evaluator.search_metrics)
    assert all(torch.equal(plain[name], measured[name]) for name in plain)


def test_search_metrics_see_no_test_images(digits: ImageData, context: EvaluationContext) -> None:
    blind = dataclasses.replace(digits, test=Split(torch.empty(0), torch.empty(0)))
    autoencoder = model()
    metrics = Evaluator(blind, context).search_metrics(autoencoder)
    assert metrics == Evaluator(digits, context).search_metrics(autoencoder)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("final", [False, True])
def test_metrics_nan_fails_by_name(evaluator: Evaluator, part: str, final: bool) -> None:
    autoencoder = model("deterministic")
    with torch.no_grad():
        for parameter in getattr(autoencoder, part).parameters():
            parameter.fill_(math.nan)
    autoencoder.train()
    with pytest.raises(MetricError, match="reconstruction_mse is nan"):
        evaluator.final_metrics(autoencoder) if final else evaluator.search_metrics(autoencoder)
    assert autoencoder.training


def test_metrics_do_not_depend_on_the_batch_size(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    autoencoder = model()
    whole = evaluator.search_metrics(autoencoder)
    monkeypatch.setattr(evaluate, "images_per_batch", lambda images: 77)
    assert evaluator.search_metrics(autoencoder) == pytest.approx(whole, rel=1e-3)


def test_metrics_samples_are_shared_by_all_models(evaluator: Evaluator) -> None:
    codes = evaluator._prior_codes(3_000, 4)
    assert torch.equal(codes, Evaluator(evaluator.data, evaluator.context)._prior_codes(3_000, 4))
    assert torch.equal(codes, evaluator._prior_codes(4_000, 150)[:3_000, :4])  # other models have asked for more
    assert torch.equal(codes, evaluator._prior_codes(3_000, 4))


@pytest.mark.parametrize(("shape", "sizes", "classes"), [((3, 20, 12), (6, 2, 2), 2), ((1, 33, 33), (12, 4, 4), 1)])
def test_metrics_of_a_tiny_data_set(
    tmp_path: Path, shape: tuple[int, int, int], sizes: tuple[int, int, int], classes: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    splits = [
        Split(
            torch.randint(0, 256, (size, *shape), generator=generator, dtype=torch.uint8),
            torch.arange(size) % classes,
        )
        for size in sizes
    ]
    summary = dataclasses.replace(
        made_summary(*shape), train_size=sizes[0], num_classes=classes, validation_size=sizes[1], test_size=sizes[2]
    )
    data = ImageData("tiny", splits[0], splits[1], splits[2], tuple("ab"[:classes]), summary)
    evaluator = Evaluator(data, prepare_context(data, tmp_path))
    config = TrialConfig(encoder="gaussian", regularizer="kl", weight=1.0, latent_dim=3, width=8)
    metrics = of_split("test", evaluator.final_metrics(build_autoencoder(config, summary)))
    assert set(metrics) == set(METRICS) - {"copies", "fitted_copies"}  # which needs some hundred held-out images


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.direction != "none"])
def test_every_metric_with_a_direction_can_be_an_objective(evaluator: Evaluator, name: str) -> None:
    autoencoder = model()
    plain = evaluator.search_metrics(autoencoder)
    found = evaluator.search_metrics(autoencoder, [name])
    assert math.isfinite(found[name]) and plain.items() <= found.items()
    final = evaluator.final_metrics(autoencoder)[f"val/{name}"]
    # Before a training's end ten Gaussians stand for the fitted prior.
    assert found[name] == pytest.approx(final, rel=0.5, abs=0.2) if name in FITTED.values() else found[name] == final


@pytest.mark.parametrize("name", ["kl", "elbo", "nll"])
def test_an_objective_that_a_model_does_not_have_fails_it_by_name(evaluator: Evaluator, name: str) -> None:
    with pytest.raises(MetricError, match=f"objective {name}: a deterministic encoder has none"):
        evaluator.search_metrics(model("deterministic"), [name])


@pytest.mark.parametrize(
    "changes",
    [{"weight": 0.0}, {"regularizer": "none"}, {"regularizer": "mmd", "kernel": "imq"}, {"regularizer": "info_vae"}],
)
def test_a_variance_that_no_kl_says_leaves_the_likelihoods_out(evaluator: Evaluator, changes: dict[str, Any]) -> None:
    final = of_split("val", evaluator.final_metrics(model(**changes)))
    assert set(METRICS) - set(final) == {"log_likelihood", "elbo", "nll"}
    with pytest.raises(MetricError, match="objective elbo: gaussian has a variance only beside a KL"):
        evaluator.search_metrics(model(**changes), ["elbo"])
    assert math.isfinite(evaluator.search_metrics(model(**changes, likelihood="gaussian_scalar"))["elbo"])
