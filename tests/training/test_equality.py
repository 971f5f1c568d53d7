"""The fast paths change no result: 50 steps of the trainer give the same result as a plain loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks import bare
from benchmarks.trainer import CASES, made_codes, made_data
from study.config import TrialConfig
from study.training.loop import Trainer
from study.training.pretrained import Pretrained

STEPS, BATCH = 50, 16


def _plain_mmd(z: Tensor, prior: Tensor, kernel: str) -> Tensor:
    """Lemma 6 of Gretton et al. with three distance matrices and autograd."""

    def gram(a: Tensor, b: Tensor) -> Tensor:
        distance = (a[:, None] - b).square().sum(dim=2)
        constants = [scale * 2 * z.shape[1] for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
        return torch.stack([constant / (constant + distance) for constant in constants]).sum(dim=0)

    assert kernel == "imq"
    pairs = len(z) * (len(z) - 1)
    within = [(gram(points, points).sum() - gram(points, points).trace()) / pairs for points in (z, prior)]
    return within[0] + within[1] - 2 * gram(z, prior).mean()


@pytest.mark.parametrize("case", CASES)
def test_fifty_steps_end_where_a_plain_loop_ends(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(bare, "squared_mmd", _plain_mmd)
    config = TrialConfig.from_params({**CASES[case], "width": 8, "batch_size": BATCH})
    data = made_data(STEPS * BATCH, (1, 12, 12))
    pretrained = made_codes(data) if config.network == "stacked" else Pretrained()
    trainer = Trainer(config, data, pretrained=pretrained)
    plain = bare.BareLoop(config, data, pretrained.codes)
    start = {name: value.clone() for name, value in plain.decoder.state_dict().items()}
    trainer.train_epoch()
    plain.epoch()
    assert trainer.steps == STEPS
    ours = {"encoder": trainer.model.encoder, "decoder": trainer.model.decoder}
    if config.regularizer == "adversarial":
        ours["critic"] = trainer.regularizer.get_submodule("critic")
    for part, module in ours.items():
        torch.testing.assert_close(module.state_dict(), getattr(plain, part).state_dict(), rtol=1e-3, atol=1e-4)
    assert all(float((value - start[name]).abs().max()) > 0.01 for name, value in plain.decoder.state_dict().items())
