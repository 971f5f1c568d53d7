from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from study.config import TrialConfig
from study.model import precision
from study.model.building import LIKELIHOODS, NETWORKS, REGULARIZERS, build_autoencoder, build_regularizer
from study.model.loss import compute_loss
from study.model.precision import has_fast_bf16, precision_warnings, run_network
from tests.helpers import made_summary, units

CPU = torch.device("cpu")


def _model(config: TrialConfig):
    torch.manual_seed(0)
    return build_autoencoder(config, made_summary(1, 16, 16)), build_regularizer(config)


def _terms(config: TrialConfig):
    model, regularizer = _model(config)
    channels, height, width = (model.first_stage or model).summary.shape
    x = torch.rand(8, channels, height, width, generator=torch.Generator().manual_seed(1))
    return model, compute_loss(model, regularizer, x, 0.01, torch.Generator().manual_seed(2))


def _config(**changes) -> TrialConfig:
    network = changes.get("network", "mlp")
    base = {"width": 16, "latent_dim": units(network, made_summary(1, 16, 16)), "kernel": "imq", "precision": "bf16"}
    return TrialConfig.from_params({**base, **changes})


def _encoder(regularizer: str) -> str:
    return "gaussian" if regularizer in ("kl", "info_vae") else "deterministic"


def test_a_perceptron_rounds_what_it_multiplies_to_bf16() -> None:
    """An oracle in float32: bf16 numbers multiply exactly in it, so only each layer's sums differ by their rounding."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
    x = torch.rand(8, 32)

    def rounded(tensor: Tensor) -> Tensor:
        return tensor.bfloat16().float()

    exact = copy.deepcopy(network)
    for parameter in exact.parameters():
        parameter.data = rounded(parameter.data)
    hidden = rounded(exact[1](exact[0](rounded(x))))
    wanted = rounded(exact[2](hidden))
    found = run_network(network, x, "bf16")
    assert found.dtype == torch.float32
    assert torch.equal(found, rounded(found))  # bf16 numbers, in float32
    torch.testing.assert_close(found, wanted, rtol=2**-7, atol=1e-3)
    assert torch.equal(run_network(network, x, "float32"), network(x)) and not torch.equal(found, network(x))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_trains_in_bf16_near_float32(network: str) -> None:
    model, terms = _terms(_config(network=network))
    other, wanted = _terms(_config(network=network, precision="float32"))
    assert terms.loss.item() == pytest.approx(wanted.loss.item(), rel=0.03)
    assert terms.loss.item() != wanted.loss.item()
    terms.loss.backward()
    wanted.loss.backward()
    pairs = [
        (mine.grad, theirs.grad)
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True)
        if mine.grad is not None and theirs.grad is not None
    ]
    mine, theirs = (torch.cat([pair[side].flatten() for pair in pairs]) for side in (0, 1))
    assert mine.dtype == torch.float32 and pairs[0][0].dtype == torch.float32
    assert torch.cosine_similarity(mine, theirs, dim=0) > 0.98


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_losses_and_penalties_are_computed_in_float32(
    monkeypatch: pytest.MonkeyPatch, regularizer: str, likelihood: str
) -> None:
    config = _config(regularizer=regularizer, encoder=_encoder(regularizer), likelihood=likelihood, weight=0.01)
    model, penalty = _model(config)
    seen: list[Tensor] = []
    plain, given = model.likelihood.cost, penalty.forward
    monkeypatch.setattr(model.likelihood, "cost", lambda raw, x: seen.extend((raw, x)) or plain(raw, x))

    def watched(model, posterior, z, generator):
        assert not torch.is_autocast_enabled("cpu")
        seen.extend(value for value in (*posterior, z) if value is not None)
        return given(model, posterior, z, generator)

    monkeypatch.setattr(penalty, "forward", watched)
    terms = compute_loss(model, penalty, torch.rand(8, 1, 16, 16), 0.01, torch.Generator().manual_seed(2))
    assert len(seen) >= 4 and {value.dtype for value in (*seen, *terms)} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")


def test_measuring_is_in_float32() -> None:
    """Two models with equal weights measure alike, whatever they were trained in."""
    models = [_model(_config(encoder="gaussian", precision=name))[0].eval() for name in ("float32", "bf16")]
    x = torch.rand(8, 1, 16, 16)
    first, second = (torch.cat([model.encode(x).mu, model.reconstruct(x).flatten(1)], dim=1) for model in models)
    assert torch.equal(first, second)


def test_one_line_says_where_bf16_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False}, raising=False)
    assert not has_fast_bf16(CPU)
    [line] = precision_warnings("bf16", CPU)
    assert "precision=bf16" in line and "no instructions for bf16" in line
    assert precision_warnings("float32", CPU) == []
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True}, raising=False)  # an ARM processor
    assert has_fast_bf16(CPU) and precision_warnings("bf16", CPU) == []
    monkeypatch.setattr(precision.torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    [line] = precision_warnings("bf16", torch.device("cuda"))
    assert "this GPU" in line
