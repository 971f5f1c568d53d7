"""The fast paths change no result: 50 steps of the trainer give the same result as a plain loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks import bare
from benchmarks.trainer import CASES, made_codes, made_data
from study.config import TrialConfig
from study.data.datasets import ImageData
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


class _ScheduledLoop(bare.BareLoop):
    """The plain loop with torch's AdamW and CosineAnnealingLR."""

    def __init__(self, config: TrialConfig, data: ImageData, steps: int) -> None:
        super().__init__(config, data)
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        weights, others = [[p for p in parameters if (p.ndim < 2) == flat] for flat in (False, True)]
        groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)
        both = (self.optimizer, self.critic_optimizer)
        self.schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) for optimizer in both]

    def step(self, x: Tensor) -> None:
        super().step(x)
        for schedule in self.schedules if self.config.regularizer == "adversarial" else self.schedules[:1]:
            schedule.step()


@pytest.mark.parametrize("case", ["mlp VAE", "mlp WAE-GAN", "conv AE"])
def test_a_falling_rate_and_decaying_weights_end_where_torchs_end(case: str) -> None:
    more = {"learning_rate_schedule": "cosine", "weight_decay": 10.0, "width": 8, "batch_size": BATCH, "epochs": 2}
    config = TrialConfig.from_params({**CASES[case], **more})
    data = made_data(STEPS // 2 * BATCH, (1, 12, 12))
    trainer, plain = Trainer(config, data), _ScheduledLoop(config, data, STEPS)
    kept = Trainer(config.replace(learning_rate_schedule="constant"), data)
    for _ in range(config.epochs):
        trainer.train_epoch()
        kept.train_epoch()
        plain.epoch()
    ours = {"encoder": trainer.model.encoder, "decoder": trainer.model.decoder}
    if config.regularizer == "adversarial":
        ours["critic"] = trainer.regularizer.get_submodule("critic")
    for part, module in ours.items():
        torch.testing.assert_close(module.state_dict(), getattr(plain, part).state_dict(), rtol=1e-3, atol=1e-4)
    others = kept.model.decoder.state_dict()
    assert all(float((value - others[name]).abs().max()) > 0.002 for name, value in plain.decoder.state_dict().items())


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
