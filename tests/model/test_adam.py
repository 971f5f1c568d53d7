"""Our Adam equals torch.optim's bit for bit, and does not import torch's compiler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from study.model.adam import Adam, set_one_cycle
from study.model.learning_rate import LEARNING_RATE_SCHEDULES

STEPS = 50


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5))


def _train(model: nn.Module, optimizer: Any, steps: range, before: Callable[[int], None] | None = None) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(4, 1, 8, 8, generator=generator)).square().mean().backward()
        if before is not None:
            before(step)
        optimizer.step()


def _same(first: nn.Module, second: nn.Module) -> bool:
    return all(map(torch.equal, first.parameters(), second.parameters()))


@pytest.mark.parametrize(
    ("settings", "other", "others"),
    [
        ({}, torch.optim.Adam, {}),
        ({"betas": (0.5, 0.999)}, torch.optim.Adam, {"betas": (0.5, 0.999)}),
        ({"weight_decay": 0.01}, torch.optim.AdamW, {"weight_decay": 0.01}),
    ],
)
def test_steps_equal_those_of_torch_optim(settings: dict, other: type, others: dict) -> None:
    ours, theirs, start = _model(), _model(), _model()
    _train(ours, Adam(ours.parameters(), 0.01, **settings), range(STEPS))
    _train(theirs, other(theirs.parameters(), lr=0.01, fused=True, **others), range(STEPS))
    assert _same(ours, theirs) and not _same(ours, start)


def _groups(model: nn.Module) -> list[dict[str, Any]]:
    """AdamW's groups: weights decay, biases do not."""
    weights, biases = [[p for p in model.parameters() if (p.ndim < 2) == bias] for bias in (False, True)]
    return [{"params": weights, "weight_decay": 0.5}, {"params": biases, "weight_decay": 0.0}]


def test_some_parameters_may_be_spared_the_decay() -> None:
    ours, theirs, all_decayed = _model(), _model(), _model()
    biases = [parameter for parameter in ours.parameters() if parameter.ndim < 2]
    _train(ours, Adam(ours.parameters(), 0.01, weight_decay=0.5, undecayed=biases), range(STEPS))
    _train(theirs, torch.optim.AdamW(_groups(theirs), lr=0.01, fused=True), range(STEPS))
    _train(all_decayed, Adam(all_decayed.parameters(), 0.01, weight_decay=0.5), range(STEPS))
    assert _same(ours, theirs) and not _same(ours, all_decayed)


@pytest.mark.parametrize("name", LEARNING_RATE_SCHEDULES)
def test_a_scheduled_rate_takes_the_steps_of_torchs_lambda_lr(name: str) -> None:
    curve, ours, theirs = LEARNING_RATE_SCHEDULES[name], _model(), _model()
    biases = [parameter for parameter in ours.parameters() if parameter.ndim < 2]
    optimizer = Adam(ours.parameters(), 0.01, weight_decay=0.5, undecayed=biases)
    _train(ours, optimizer, range(STEPS), lambda step: optimizer.set_learning_rate(0.01 * curve(step / STEPS)))
    theirs_optimizer = torch.optim.AdamW(_groups(theirs), lr=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(theirs_optimizer, lambda step: curve(step / STEPS))
    for step in range(STEPS):
        _train(theirs, theirs_optimizer, range(step, step + 1))
        schedule.step()
    assert _same(ours, theirs)


def test_a_rate_in_a_tensor_keeps_its_place_and_takes_the_same_steps() -> None:
    number, tensor = _model(), _model()
    rate = torch.tensor(0.01)
    optimizers = Adam(number.parameters(), 0.01), Adam(tensor.parameters(), rate)
    for model, optimizer in zip((number, tensor), optimizers, strict=True):
        _train(model, optimizer, range(STEPS), lambda step, own=optimizer: own.set_learning_rate(1 / (100 + step)))
    assert optimizers[1].learning_rate is rate and float(rate) == pytest.approx(1 / 149)
    for ours, expected in zip(tensor.parameters(), number.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [2, 3, 4, 10, 11, 97])
def test_one_cycle_is_torchs(steps: int) -> None:
    ours, theirs = _model(), _model()
    optimizer = Adam(ours.parameters(), 1.0)
    _train(ours, optimizer, range(steps), lambda step: set_one_cycle(optimizer, step, steps, 0.02))
    theirs_optimizer = torch.optim.Adam(theirs.parameters(), lr=1.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs_optimizer, 0.02, total_steps=steps)
    for step in range(steps):
        _train(theirs, theirs_optimizer, range(step, step + 1))
        if step + 1 < steps:
            schedule.step()
    assert _same(ours, theirs)
    assert optimizer.learning_rate == theirs_optimizer.param_groups[0]["lr"] == pytest.approx(0.02 / 250_000)


@pytest.mark.parametrize("kind", ["ours", "torch"])
def test_a_training_goes_on_from_saved_moments(kind: str) -> None:
    """A state of torch.optim has the same keys."""
    whole, parted = _model(), _model()
    _train(whole, Adam(whole.parameters(), 0.01), range(20))
    parameters = list(parted.parameters())
    first = Adam(parameters, 0.01) if kind == "ours" else torch.optim.Adam(parameters, 0.01, fused=True)
    _train(parted, first, range(8))
    second = Adam(parted.parameters(), 0.01)
    second.load_state_dict(first.state_dict())
    _train(parted, second, range(8, 20))
    assert _same(whole, parted)


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    used, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Adam([used, unused], 0.1)
    used.square().sum().backward()
    optimizer.step()
    assert torch.equal(unused, torch.ones(3)) and not torch.equal(used, torch.ones(3))
    optimizer.zero_grad()
    optimizer.step()  # no parameter has a gradient, so nothing happens


def test_another_models_moments_are_refused() -> None:
    optimizer = Adam([nn.Parameter(torch.ones(3))], 0.1)
    for shapes in ([3, 3], [1]):
        other = Adam([nn.Parameter(torch.ones(shape)) for shape in shapes], 0.1)
        with pytest.raises(ValueError, match=f"{len(shapes)} parameters do not fit a model of 1"):
            optimizer.load_state_dict(other.state_dict())


def test_a_trial_does_not_import_torchs_compiler(tmp_path: Path) -> None:
    """The import takes longer than many trials' first epochs. A whole trial, as Ray calls it, does not need it."""
    program = """
import sys
from pathlib import Path
from study.config import TrialConfig
from study.data.datasets import load_dataset
from study.measure.context import prepare_context
from study.tuning import trainable, worker
from tests.helpers import Session, small
session, folder = Session(), Path(sys.argv[1])
trainable.tune.report = session.report
trainable.process_info = lambda: {"device": "cpu"}
data = small(load_dataset("digits"), 64)
config = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.1, network="conv", width=4, latent_dim=2, epochs=2)
work = {"directory": str(folder / "trial"), "params": config.to_params()}
(folder / "trial").mkdir()
shared = {"data": trainable.pack(data), "context": prepare_context(data, folder), "cache": folder}
worker.run_trial(work, **shared, threads=1, rungs=True)
compiler = [name for name in ("torch._dynamo", "torch._inductor", "triton") if name in sys.modules]
print(session.reports[-1]["epoch"], compiler)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == "2 []\n"
