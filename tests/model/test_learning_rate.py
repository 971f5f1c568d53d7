"""Learning-rate schedules equal those of torch."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.optim import lr_scheduler

from study.config import TrialConfig, UserError
from study.model.learning_rate import LEARNING_RATE_SCHEDULES, rate_schedule

RATE, STEPS = 0.02, 37
TORCHS = {
    "constant": lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=1.0),
    "linear": lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=STEPS),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS),
}


@pytest.mark.parametrize("name", LEARNING_RATE_SCHEDULES)
def test_a_schedule_is_torchs(name: str) -> None:
    curve = rate_schedule(TrialConfig(learning_rate_schedule=name))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    theirs = TORCHS[name](optimizer)
    for step in range(STEPS + 1):
        assert RATE * curve(step / STEPS) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-15)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the optimizer takes no steps here
            theirs.step()


@pytest.mark.parametrize("name", LEARNING_RATE_SCHEDULES)
def test_a_rate_begins_in_full_and_never_rises_nor_ends_before_the_training(name: str) -> None:
    curve = LEARNING_RATE_SCHEDULES[name]
    rates = [curve(step / 1000) for step in range(1000)]
    assert rates[0] == 1 and rates == sorted(rates, reverse=True) and rates[-1] > 0
    assert curve(1.0) == (1 if name == "constant" else 0)


def test_an_unknown_schedule_lists_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"^learning_rate_schedule='step': choose from constant, linear, cosine$"):
        rate_schedule(TrialConfig(learning_rate_schedule="step"))
