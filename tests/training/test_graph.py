"""Graphed steps. On the CPU a fake graph repeats the step, so everything but CUDA's part is tested; on a GPU, all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.trainer import made_data
from study.config import TrialConfig
from study.data.datasets import ImageData
from study.model.learning_rate import LEARNING_RATE_SCHEDULES
from study.training import loop
from study.training.graph import EAGER_STEPS, SWITCH, GraphedSteps, Step, graphs_wanted
from study.training.loop import Trainer

METHODS = {
    "none": "deterministic",
    "kl": "gaussian",
    "mmd": "deterministic",
    "adversarial": "deterministic",
    "sliced_wasserstein": "deterministic",
}


def _config(regularizer: str) -> TrialConfig:
    return TrialConfig(
        regularizer=regularizer,
        encoder=METHODS[regularizer],
        kernel="imq",
        weight=2.0,
        annealing="linear",
        annealing_fraction=1.0,
        width=16,
        batch_size=16,
        epochs=4,
    )


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake of CUDA's graph that runs the captured step again."""
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(GraphedSteps, "_run_aside", GraphedSteps._execute)
    monkeypatch.setattr(
        GraphedSteps, "_capture", lambda self, step: SimpleNamespace(replay=lambda: self._execute(step))
    )


def _graphed(monkeypatch: pytest.MonkeyPatch, config: TrialConfig, data: ImageData) -> Trainer:
    with monkeypatch.context() as context:
        context.setattr(loop, "graphs_wanted", lambda device: True)
        return Trainer(config, data)


def test_steps_are_graphed_on_a_gpu_alone_and_may_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not graphs_wanted(torch.device("cpu"))
    assert graphs_wanted(torch.device("cuda"))
    monkeypatch.setenv(SWITCH, "0")
    assert not graphs_wanted(torch.device("cuda"))


def test_each_step_runs_once_with_its_own_images_and_weight(repeated: None) -> None:
    seen: list[tuple[list[int], float]] = []

    def step(batch: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        seen.append((batch.tolist(), float(weight)))
        return weight, 2 * weight, 3 * weight

    steps = GraphedSteps(2, torch.Generator())
    given = [([number, number + 1], number / 4) for number in range(EAGER_STEPS + 3)]
    results = [steps.run(step, torch.tensor(batch), weight).tolist() for batch, weight in given]
    assert seen == given
    assert results == [[weight, 2 * weight, 3 * weight] for _, weight in given]


@pytest.mark.parametrize("regularizer", METHODS)
def test_a_training_by_graphed_steps_is_the_same(repeated: None, monkeypatch, regularizer: str) -> None:
    data = made_data(160, (1, 8, 8))
    graphed, plain = _graphed(monkeypatch, _config(regularizer), data), Trainer(_config(regularizer), data)
    assert graphed._graphed is not None and plain._graphed is None
    for _ in range(2):
        assert graphed.train_epoch() == pytest.approx(plain.train_epoch(), rel=1e-5)
    for part in ("model", "regularizer", "generator"):
        torch.testing.assert_close(graphed.state()[part], plain.state()[part])


def test_graphed_steps_follow_an_adapted_weight(repeated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config("kl").replace(annealing="constant", annealing_fraction=0.0, target_error=0.05)
    data = made_data(160, (1, 8, 8))
    graphed, plain = _graphed(monkeypatch, config, data), Trainer(config, data)
    weights = []
    for _ in range(config.epochs):
        found, expected = graphed.train_epoch(), plain.train_epoch()
        assert found == pytest.approx(expected, rel=1e-5)
        weights.append(found["weight"])
    assert len(set(weights)) == config.epochs


@pytest.fixture
def frozen(repeated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake of CUDA's graph in which a learning rate that is a number stays as it was when it was captured."""

    def capture(self: GraphedSteps, step: Step) -> SimpleNamespace:
        trainer: Any = step.__self__  # type: ignore[attr-defined]
        optimizers = [one for one in (trainer.optimizer, trainer.critic_optimizer) if one is not None]
        rates = [optimizer.learning_rate for optimizer in optimizers]

        def replay() -> None:
            for optimizer, rate in zip(optimizers, rates, strict=True):
                optimizer.learning_rate = rate
            self._execute(step)

        return SimpleNamespace(replay=replay)

    monkeypatch.setattr(GraphedSteps, "_capture", capture)


@pytest.mark.parametrize("regularizer", ["kl", "adversarial"])
def test_graphed_steps_follow_a_falling_rate(frozen: None, monkeypatch, regularizer: str) -> None:
    config = _config(regularizer).replace(learning_rate_schedule="cosine", weight_decay=0.1, learning_rate=0.01)
    data = made_data(160, (1, 8, 8))
    graphed, plain = _graphed(monkeypatch, config, data), Trainer(config, data)
    for _ in range(config.epochs):
        assert graphed.train_epoch() == pytest.approx(plain.train_epoch(), rel=1e-4)
    for part in ("model", "regularizer"):
        torch.testing.assert_close(graphed.state()[part], plain.state()[part], rtol=1e-3, atol=1e-4)
    assert isinstance(graphed.optimizer.learning_rate, torch.Tensor)
    assert isinstance(plain.optimizer.learning_rate, float)


def test_a_rate_that_stays_remains_a_constant_of_the_graph(repeated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = _graphed(monkeypatch, _config("adversarial"), made_data(160, (1, 8, 8)))
    assert trainer.critic_optimizer is not None
    assert trainer.optimizer.learning_rate == trainer.critic_optimizer.learning_rate == trainer.config.learning_rate
    assert isinstance(trainer.optimizer.learning_rate, float)


def test_loading_drops_the_graph(repeated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = _graphed(monkeypatch, _config("mmd"), made_data(160, (1, 8, 8)))
    trainer.train_epoch()
    assert trainer._graphed is not None
    trainer.load(trainer.state())
    assert trainer._graphed is None  # the CPU has no graph


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("regularizer", METHODS)
@pytest.mark.parametrize("schedule", LEARNING_RATE_SCHEDULES)
def test_on_a_gpu_fifty_graphed_steps_end_where_eager_ones_end(monkeypatch, regularizer: str, schedule: str) -> None:
    data = made_data(800, (1, 8, 8)).to("cuda")
    config = _config(regularizer).replace(epochs=1, learning_rate_schedule=schedule, weight_decay=0.1)
    graphed = Trainer(config, data, "cuda")
    monkeypatch.setenv(SWITCH, "0")
    eager = Trainer(config, data, "cuda")
    assert graphed.train_epoch() == pytest.approx(eager.train_epoch(), rel=1e-4)
    torch.testing.assert_close(graphed.model.state_dict(), eager.model.state_dict(), rtol=1e-3, atol=1e-4)
