"""The training loop: a generator of epochs, over data that stay on the device.

No step waits for the device: an epoch's losses are read once, at its end. The exceptions are a schedule that waits for
the reconstruction, and a weight that is adapted to a requested error: they observe the model a few times per epoch.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from study.config import TrialConfig
from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.model.adam import Adam
from study.model.autoencoder import Autoencoder, undecayed
from study.model.building import build_autoencoder, build_regularizer, build_schedule
from study.model.learning_rate import RateSchedule, constant, rate_schedule
from study.model.loss import compute_loss
from study.model.regularizers.base import CriticRegularizer, Regularizer
from study.model.schedules.base import Schedule
from study.model.target_error import LEAST_CHECKS, WeightControl, build_control, in_turn
from study.training.checkpoint import continues_randomness
from study.training.errors import TrainingError
from study.training.graph import GraphedSteps, graphs_wanted
from study.training.pretrained import Pretrained
from study.training.scopes import denormals_flushed, own_randomness
from study.training.team import ALONE, Team

CRITIC_BETAS = (0.5, 0.999)
"""Adam's betas for a WAE-GAN's critic. With the defaults, the codes' MMD to the prior was twice as large on MNIST."""
NOTHING_PRETRAINED = Pretrained()
CHECKS = 16
"""How often per epoch the reconstruction is observed: by a schedule that waits for it, on the current batch; or, at
least so often, by a requested error's control, on validation images."""
EVALUATIONS = 8
"""Evaluations spread over a training, so that metrics exist at 1/8, 1/4, 1/2 and the end of any training."""


def evaluation_epochs(epochs: int, evaluations: int = EVALUATIONS) -> frozenset[int]:
    """The epochs, from 1, after which a training of this length is evaluated. The last is always one of them."""
    return frozenset(math.ceil(part * epochs / evaluations) for part in range(1, evaluations + 1))


@dataclasses.dataclass(frozen=True)
class EpochResult:
    """The result of one epoch.

    Attributes:
        epoch: Epochs trained so far, from 1.
        train: Means over the epoch's steps of `loss`, `reconstruction` (nats per image) and `penalty` (unweighted, in
            the regularizer's own unit); and `weight`, w * m(t) at the epoch's last step.
        multiplier: m(t) at the epoch's last step.
        metrics: What `evaluate` returned; empty between evaluations.
        seconds: Wall time of the training steps.
        evaluation_seconds: Wall time of the evaluation.
        model: The model as it is now. The next epoch changes it.
        trainer: It holds all that a resumed training needs. `trainer.state()` is valid until the next epoch.
    """

    epoch: int
    train: dict[str, float]
    multiplier: float
    metrics: dict[str, float]
    seconds: float
    evaluation_seconds: float
    model: Autoencoder
    trainer: Trainer


class Trainer:
    """Model, regularizer, optimisers, schedule and random generator of one training.

    Args:
        config: The trial.
        data: The data set, already on `device`.
        device: Where to train.
        pretrained: The pretrained parts that the config needs, on `device`.
        team: This process's part in a training on several devices.

    Raises:
        UserError: The config names something unknown, or its parts do not fit together.
        ValueError: A network that reads codes, without a first stage.
    """

    def __init__(
        self,
        config: TrialConfig,
        data: ImageData,
        device: str | torch.device = "cpu",
        pretrained: Pretrained = NOTHING_PRETRAINED,
        team: Team = ALONE,
    ) -> None:
        self.config, self.team = config, team
        self.device = torch.device(device)
        self.features = pretrained.features
        self.inputs = data.train.images
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model: Autoencoder = team.adopt(build_autoencoder(config, data.summary).to(device))
            self.regularizer: Regularizer = build_regularizer(config).to(device)
        if self.model.first_stage is not None:
            if pretrained.first_stage is None or pretrained.codes is None:
                raise ValueError(f"network={config.network}: give a trained first stage and its codes")
            self.model.first_stage.load_state_dict(pretrained.first_stage)
            self.inputs = pretrained.codes
        self.schedule: Schedule = build_schedule(config)
        self.control: WeightControl | None = build_control(config)
        self.validation = data.validation.first(len(data.validation)).images  # classes mixed
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.batch_size = min(config.batch_size, len(self.inputs))
        self.steps = len(self.inputs) // self.batch_size
        self._graphed = self._graphed_steps()
        self.rate_schedule: RateSchedule = rate_schedule(config)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        decay, spared = config.weight_decay, undecayed(self.model)
        self.optimizer = Adam(trained, self._first_rate(), weight_decay=decay, undecayed=spared)
        self.critic_optimizer = None
        if isinstance(self.regularizer, CriticRegularizer):
            critic = self.regularizer.critic.parameters()
            self.critic_optimizer = Adam(critic, self._first_rate(), betas=CRITIC_BETAS)
        checks = max(CHECKS, LEAST_CHECKS // config.epochs) if self.control else CHECKS  # in an epoch
        self.check_every = max(1, self.steps // checks)
        self.epoch = 0
        self.multiplier = 0.0

    def _graphed_steps(self) -> GraphedSteps | None:
        # A graph would freeze what a user's own code decides in Python. Of several devices, none has been tried.
        wanted = graphs_wanted(self.device) and not self.config.runs_own_code and self.team is ALONE
        return GraphedSteps(self.batch_size, self.generator) if wanted else None

    def _first_rate(self) -> float | Tensor:
        # A number would be a constant of the graph.
        rate, is_constant = self.config.learning_rate, self.rate_schedule is constant
        return rate if is_constant or self._graphed is None else torch.tensor(rate, device=self.device)

    def state(self) -> dict[str, Any]:
        """Everything that decides how the training continues, for `load`."""
        return {
            "config": self.config.to_params(),
            "epoch": self.epoch,
            "multiplier": self.multiplier,
            "model": self.model.state_dict(),
            "regularizer": self.regularizer.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict() if self.critic_optimizer else None,
            "schedule": self.schedule.state_dict(),
            "control": self.control.state_dict() if self.control else None,
            "generator": self.generator.get_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continues the training from `state`.

        If it was saved on another kind of device, random numbers restart from the config's seed and the epoch; see
        `study.training.checkpoint.continues_randomness`.

        Raises:
            ValueError: The state belongs to another config.
        """
        if TrialConfig.from_params(state["config"], self.config.components) != self.config:
            raise ValueError("the checkpoint was written by another configuration")
        self.epoch = state["epoch"]
        self.multiplier = state["multiplier"]
        self.model.load_state_dict(state["model"])
        self.regularizer.load_state_dict(state["regularizer"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.critic_optimizer:
            self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.control:
            self.control.load_state_dict(state["control"])
        if continues_randomness(state, self.device):
            self.generator.set_state(state["generator"].cpu())
        else:
            [seed] = np.random.SeedSequence((self.config.seed, self.epoch)).generate_state(1, np.uint64)
            self.generator.manual_seed(int(seed))
        self._graphed = self._graphed_steps()  # a new one, because tensors may have moved

    def train_epoch(self) -> dict[str, float]:
        """Trains on all training images once, in a new order. A last, smaller batch is left out.

        Returns:
            The epoch's means, as in `EpochResult.train`.

        Raises:
            TrainingError: The loss is not finite, or the processes of several devices do not agree.
        """
        self.team.begin(self.state)
        with denormals_flushed(), own_randomness(self.config, self.epoch):
            means = self._train_epoch()
        return self.team.agree(self.state, means)

    def _train_epoch(self) -> dict[str, float]:
        self.model.train()
        order = torch.randperm(len(self.inputs), generator=self.generator, device=self.inputs.device)
        terms: list[Tensor] = []
        weight = 0.0
        for step, batch in enumerate(order[: self.steps * self.batch_size].split(self.batch_size)):
            taken, total = self.epoch * self.steps + step, self.config.epochs * self.steps
            if self.rate_schedule is not constant:
                self._set_learning_rate(self.config.learning_rate * self.rate_schedule(taken / total))
            done = (taken + 1) / total
            if step % self.check_every == 0 and self.schedule.waiting(done):
                self.schedule.observe(done, self._unexplained(self.inputs[batch]))
            if step % self.check_every == 0 and self.control:
                self.control.observe(done, self._validation_error(step // self.check_every))
            self.multiplier = self.schedule.multiplier(done)
            weight = (self.control.weight if self.control else self.config.weight) * self.multiplier
            terms.extend(self._graphed.run(self._step, batch, weight) if self._graphed else self._step(batch, weight))
        self.epoch += 1
        loss, reconstruction, penalty = torch.stack(terms).view(self.steps, 3).double().mean(0).tolist()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {self.epoch} (reconstruction {reconstruction}, penalty {penalty}): "
                f"try a smaller learning_rate than {self.config.learning_rate:g} or another weight"
            )
        if self.control:
            self.model.adapted_weight.fill_(weight)
        return {"loss": loss, "reconstruction": reconstruction, "penalty": penalty, "weight": weight}

    def _set_learning_rate(self, rate: float) -> None:
        self.optimizer.set_learning_rate(rate)
        if self.critic_optimizer is not None:
            self.critic_optimizer.set_learning_rate(rate)

    def _unexplained(self, batch: Tensor) -> float:
        """The unexplained variance of a batch; does not touch batch normalisation or the generator."""
        self.model.eval()
        unexplained = self.team.agreed(float(self.model.unexplained(as_float(batch))))
        self.model.train()
        return unexplained

    def _validation_error(self, check: int) -> float:
        """Squared error per pixel of the next few validation images; changes nothing, like `_unexplained`."""
        turn = self.epoch * math.ceil(self.steps / self.check_every) + check
        # An epoch's checks cost about a tenth of its steps, or a third if its steps are few and each is checked.
        images = in_turn(self.validation, turn, max(self.batch_size, self.check_every * self.batch_size // 4))
        self.model.eval()
        x = as_float(images)
        error = self.team.agreed(float((self.model.reconstruct(x) - x).square().mean()))
        self.model.train()
        return error

    def _step(self, batch: Tensor, weight: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Takes one optimisation step on the inputs at indices [B], without waiting for the device.

        Returns:
            Loss, reconstruction and penalty, 0-dim, on the device.
        """
        x = as_float(self.inputs[batch])
        self.optimizer.zero_grad()
        terms = compute_loss(self.model, self.regularizer, x, weight, self.generator, self.features, self.team.run)
        terms.loss.backward()
        self.optimizer.step()
        if self.critic_optimizer is not None and isinstance(self.regularizer, CriticRegularizer):
            self.critic_optimizer.zero_grad()
            self.regularizer.critic_loss(terms.codes, self.generator).backward()
            self.critic_optimizer.step()
        return terms.loss.detach(), terms.reconstruction, terms.penalty


def train(
    config: TrialConfig,
    data: ImageData,
    *,
    evaluate: Callable[[Autoencoder], dict[str, float]],
    device: str | torch.device = "cpu",
    pretrained: Pretrained = NOTHING_PRETRAINED,
    state: dict[str, Any] | None = None,
    evaluate_last: bool = True,
    team: Team = ALONE,
) -> Generator[EpochResult]:
    """Trains one autoencoder, epoch by epoch.

    Args:
        config: The trial.
        data: The data set, on `device`.
        evaluate: Measures the model after the epochs of `evaluation_epochs`. It must not change the model or the global
            random generators.
        device: Where to train.
        pretrained: The pretrained parts that the config needs, on `device`.
        state: `Trainer.state()` of an interrupted training of the same config. If it was saved on the CPU and training
            runs there, the epochs equal those of an uninterrupted training bit for bit.
        evaluate_last: Whether to measure after the last epoch too; not if the caller measures in full there.
        team: As of `Trainer`; see `study.training.several_devices`.

    Yields:
        One result per epoch, from the first that is not trained yet.

    Raises:
        TrainingError: The loss is not finite.
        UserError: The config names something unknown, or its parts do not fit together.
    """
    trainer = Trainer(config, data, device, pretrained, team)
    if state is not None:
        trainer.load(state)
    wanted = evaluation_epochs(config.epochs) - (set() if evaluate_last else {config.epochs})
    while trainer.epoch < config.epochs:
        start = time.perf_counter()
        means = trainer.train_epoch()
        trained = time.perf_counter()
        metrics = evaluate(trainer.model) if trainer.epoch in wanted else {}
        yield EpochResult(
            epoch=trainer.epoch,
            train=means,
            multiplier=trainer.multiplier,
            metrics=metrics,
            seconds=trained - start,
            evaluation_seconds=time.perf_counter() - trained,
            model=trainer.model,
            trainer=trainer,
        )
