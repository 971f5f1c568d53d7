from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from study.config import TrialConfig
from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.data.splits import Split
from study.model.building import LIKELIHOODS, REGULARIZERS, SCHEDULES
from study.model.learning_rate import LEARNING_RATE_SCHEDULES
from study.model.stacked import FirstStage
from study.training import checkpoint
from study.training.loop import EpochResult, Trainer, TrainingError, evaluation_epochs, train
from study.training.pretrained import Pretrained

EPOCHS = 4


def _config(**changes) -> TrialConfig:
    base = {"width": 16, "latent_dim": 3, "epochs": EPOCHS, "kernel": "imq", "weight": 0.1, "learning_rate": 1e-3}
    return TrialConfig.from_params({**base, **changes})


def _encoder(regularizer: str) -> str:
    return "gaussian" if regularizer in ("kl", "info_vae") else "deterministic"


def _evaluate(model) -> dict[str, float]:
    return {"total": sum(float(parameter.detach().sum()) for parameter in model.parameters())}


def _run(config: TrialConfig, data: ImageData, state=None) -> list[EpochResult]:
    return list(train(config, data, evaluate=_evaluate, state=state))


def _resumed(config: TrialConfig, data: ImageData, folder: Path) -> list[tuple]:
    """The numbers of a training that was cut off after its second epoch and goes on from the checkpoint."""
    epochs = train(config, data, evaluate=_evaluate)
    next(epochs)
    path = checkpoint.save(folder, 2, next(epochs).trainer.state())
    epochs.close()
    return _numbers(_run(config, data, checkpoint.load(path)))


def _numbers(results: list[EpochResult]) -> list[tuple]:
    return [(result.epoch, result.train, result.metrics, result.multiplier) for result in results]


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_equal_configs_give_bitwise_equal_results(few_digits: ImageData, regularizer: str) -> None:
    config = _config(regularizer=regularizer, encoder=_encoder(regularizer))
    torch.rand(3)  # the global generator's state does not matter
    first = _numbers(_run(config, few_digits))
    torch.rand(5)
    assert _numbers(_run(config, few_digits)) == first


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_images_stored_as_floats_train_like_bytes(few_digits: ImageData, network: str) -> None:
    """Images of more than eight bits are stored as floats; where eight bits are enough, nothing must change."""
    names = ("train", "validation", "test")
    splits = {name: Split(as_float(few_digits.split(name).images), few_digits.split(name).labels) for name in names}
    config = _config(network=network)
    as_floats = dataclasses.replace(few_digits, **splits)
    assert _numbers(_run(config, as_floats)) == _numbers(_run(config, few_digits))


def test_another_seed_gives_another_result(few_digits: ImageData) -> None:
    assert _numbers(_run(_config(), few_digits)) != _numbers(_run(_config(seed=1), few_digits))


@pytest.mark.parametrize("annealing", SCHEDULES)
@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, few_digits: ImageData, regularizer, annealing) -> None:
    config = _config(
        regularizer=regularizer, encoder=_encoder(regularizer), annealing=annealing, annealing_fraction=0.5
    )
    whole = _numbers(_run(config, few_digits))
    epochs = train(config, few_digits, evaluate=_evaluate)
    next(epochs)
    path = checkpoint.save(tmp_path, 2, next(epochs).trainer.state())
    epochs.close()
    resumed = _run(config, few_digits, checkpoint.load(path))
    assert _numbers(resumed) == whole[2:]


@pytest.mark.parametrize("schedule", LEARNING_RATE_SCHEDULES)
@pytest.mark.parametrize("regularizer", ["kl", "adversarial"])
def test_a_resumed_training_goes_on_at_its_scheduled_rate(tmp_path, few_digits, regularizer, schedule) -> None:
    config = _config(
        regularizer=regularizer,
        encoder=_encoder(regularizer),
        learning_rate_schedule=schedule,
        weight_decay=0.1,
        learning_rate=0.01,
    )
    whole = _numbers(_run(config, few_digits))
    assert _resumed(config, few_digits, tmp_path) == whole[2:]
    plain = config.replace(learning_rate_schedule="constant")
    assert (_numbers(_run(plain, few_digits)) == whole) == (schedule == "constant")


def test_the_rate_follows_the_share_of_all_steps_for_any_number_of_epochs(few_digits: ImageData) -> None:
    for epochs in (1, 3):
        config = _config(regularizer="adversarial", learning_rate_schedule="linear", epochs=epochs)
        trainer = Trainer(config, few_digits)
        for epoch in range(epochs):
            trainer.train_epoch()
            last = 1 - ((epoch + 1) * trainer.steps - 1) / (epochs * trainer.steps)
            for optimizer in (trainer.optimizer, trainer.critic_optimizer):
                assert optimizer is not None and optimizer.learning_rate == pytest.approx(1e-3 * last)


@pytest.mark.parametrize("network", ["mlp", "conv", "deep"])
@pytest.mark.parametrize("regularizer", ["kl", "mmd", "adversarial"])
def test_a_training_in_bf16_is_repeatable_and_resumes_exactly(tmp_path, few_digits, regularizer, network) -> None:
    config = _config(regularizer=regularizer, encoder=_encoder(regularizer), network=network, precision="bf16")
    whole = _numbers(_run(config, few_digits))
    assert _numbers(_run(config, few_digits)) == whole
    assert _resumed(config, few_digits, tmp_path) == whole[2:]
    plain = _numbers(_run(config.replace(precision="float32"), few_digits))
    assert plain != whole
    for (_, exact, *_), (_, rounded, *_) in zip(plain, whole, strict=True):
        assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.05)


def test_what_a_training_in_bf16_keeps_is_in_float32(few_digits: ImageData) -> None:
    trainer = Trainer(_config(regularizer="adversarial", network="deep", precision="bf16"), few_digits)
    trainer.train_epoch()
    state = trainer.state()
    kept = [*state["model"].values(), *state["regularizer"].values()]
    kept += [moment for name in ("optimizer", "critic_optimizer") for moment in _tensors(state[name])]
    assert {value.dtype for value in kept if value.is_floating_point()} == {torch.float32}


def _tensors(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [found for part in values for found in _tensors(part)]


def test_a_checkpoint_from_before_rates_were_scheduled_goes_on(few_digits: ImageData) -> None:
    whole = _numbers(_run(_config(), few_digits))
    state = next(train(_config(), few_digits, evaluate=_evaluate)).trainer.state()
    for name in ("learning_rate_schedule", "weight_decay", "precision"):
        del state["config"][name]
    assert _numbers(_run(_config(), few_digits, state)) == whole[1:]


@pytest.mark.parametrize("regularizer", [name for name in REGULARIZERS if name != "none"])
def test_a_resumed_training_goes_on_towards_its_requested_error(tmp_path, few_digits: ImageData, regularizer) -> None:
    config = _config(regularizer=regularizer, encoder=_encoder(regularizer), target_error=0.03)
    whole = _numbers(_run(config, few_digits))
    assert _resumed(config, few_digits, tmp_path) == whole[2:]
    assert len({train["weight"] for _, train, _, _ in whole}) == EPOCHS  # it changed all along


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_the_error_at_the_end_is_the_requested_one(digits: ImageData, share: float, schedule: str) -> None:
    """Of the mean image's error. Errors of these models differ by 3 % from epoch to epoch at any weight."""
    request = share * digits.summary.total_variance / 64
    config = TrialConfig(encoder="gaussian", regularizer="kl", weight=request, target_error=request, epochs=40)
    config = config.replace(learning_rate_schedule=schedule)
    x = digits.validation.images.float() / 255
    for result in train(config, digits, evaluate=lambda model: {}):
        model, weight = result.model, result.train["weight"]
    model.eval()
    assert float((model.reconstruct(x) - x).square().mean()) == pytest.approx(request, rel=0.12)
    assert model.likelihood_scale == pytest.approx(weight) and weight > 2 * request


def test_checking_a_requested_error_changes_nothing_else(few_digits: ImageData) -> None:
    config = _config(network="deep", regularizer="mmd", target_error=0.03)
    trainer = Trainer(config, few_digits)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.batch_size = len(few_digits.validation)
    error = trainer._validation_error(0)
    trainer.model.eval()
    x = few_digits.validation.images.float() / 255
    assert error == pytest.approx(float((trainer.model.reconstruct(x) - x).square().mean()), rel=1e-5)
    assert trainer.model.state_dict().keys() == before.keys()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_requested_error_of_a_stacked_model_is_one_of_pixels(few_digits: ImageData) -> None:
    config = _config(network="stacked", regularizer="mmd", target_error=0.03, batch_size=256)
    stage = FirstStage(few_digits.summary)
    stage.scale.fill_(1.0)
    codes = stage.encode(few_digits.train.images.float() / 255).detach()
    trainer = Trainer(config, few_digits, pretrained=Pretrained(first_stage=stage.state_dict(), codes=codes))
    error = trainer._validation_error(0)
    trainer.model.eval()
    x = few_digits.validation.images.float() / 255
    assert error == pytest.approx(float((trainer.model.reconstruct(x) - x).square().mean()), rel=1e-5)


def test_evaluating_does_not_change_training(few_digits: ImageData) -> None:
    def noisy(model) -> dict[str, float]:
        model.eval()
        model.train()
        return _evaluate(model)

    plain = list(train(_config(), few_digits, evaluate=lambda model: {}))
    measured = list(train(_config(), few_digits, evaluate=noisy))
    assert [result.train for result in plain] == [result.train for result in measured]


def test_a_state_of_another_config_is_refused(few_digits: ImageData) -> None:
    state = Trainer(_config(), few_digits).state()
    with pytest.raises(ValueError, match="another configuration"):
        Trainer(_config(seed=1), few_digits).load(state)


def test_a_loss_that_is_not_finite_ends_the_training_with_the_reason(few_digits: ImageData) -> None:
    with pytest.raises(TrainingError, match=r"epoch \d.*learning_rate"):
        _run(_config(encoder="gaussian", regularizer="kl", learning_rate=1e30), few_digits)


def test_the_weight_follows_the_schedule_and_ends_at_its_full_value(few_digits: ImageData) -> None:
    config = _config(regularizer="mmd", annealing="linear", annealing_fraction=0.5, weight=2.0)
    weights = [result.train["weight"] for result in _run(config, few_digits)]
    assert weights == pytest.approx([1.0, 2.0, 2.0, 2.0])


@pytest.mark.parametrize(("rate", "opens"), [(3e-3, True), (1e-7, False)])
def test_a_quality_gate_opens_when_half_of_the_variance_is_explained(few_digits: ImageData, rate, opens) -> None:
    config = _config(
        annealing="quality_gated",
        annealing_fraction=1.0,
        epochs=20,
        width=128,
        latent_dim=8,
        batch_size=16,
        learning_rate=rate,
    )
    trainer = Trainer(config, few_digits)
    left = []
    for _ in range(config.epochs):
        trainer.train_epoch()
        x = few_digits.train.images.float() / 255
        squared = (trainer.model.reconstruct(x) - x).square().sum(dim=(1, 2, 3)).mean()
        left.append(float(squared) / few_digits.summary.total_variance)
    opened_at = trainer.schedule.state_dict()["opened_at"]
    if opens:
        epoch = opened_at * config.epochs
        assert 1 < epoch < 10  # before the deadline
        assert 0.4 < left[math.floor(epoch)] < 0.6  # the schedule saw single batches, and this is the whole split
    else:
        assert opened_at == math.inf and min(left) > 0.5
    assert trainer.multiplier == 1


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_showing_the_reconstruction_to_a_schedule_changes_nothing_else(few_digits: ImageData, likelihood) -> None:
    trainer = Trainer(_config(network="deep", likelihood=likelihood, annealing_fraction=0.5), few_digits)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    batch = few_digits.train.images[:32]
    share = trainer._unexplained(batch)
    trainer.model.eval()
    x = batch.float() / 255
    squared = (trainer.model.reconstruct(x) - x).square().sum(dim=(1, 2, 3)).mean()
    assert share == pytest.approx(float(squared) / few_digits.summary.total_variance, rel=1e-5)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_loss_is_the_sum_of_its_parts(few_digits: ImageData) -> None:
    for result in _run(_config(regularizer="mmd", weight=3.0), few_digits):
        means = result.train
        assert means["loss"] == pytest.approx(means["reconstruction"] + 3.0 * means["penalty"], rel=1e-5)


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 8, 10, 60, 61, 1000])
def test_metrics_exist_at_every_rung_and_at_the_end(epochs: int) -> None:
    wanted = evaluation_epochs(epochs)
    assert {math.ceil(epochs * part) for part in (1 / 8, 1 / 4, 1 / 2, 1)} <= wanted
    assert len(wanted) <= 8 and min(wanted) >= 1 and max(wanted) == epochs


def test_results_are_evaluated_at_those_epochs_alone(few_digits: ImageData) -> None:
    results = list(train(_config(epochs=16), few_digits, evaluate=_evaluate))
    assert {result.epoch for result in results if result.metrics} == evaluation_epochs(16)


def test_a_batch_larger_than_the_data_is_cut_to_it(few_digits: ImageData) -> None:
    assert Trainer(_config(batch_size=4096), few_digits).steps == 1


def test_denormal_numbers_are_zero_while_training_and_nowhere_else(few_digits: ImageData) -> None:
    """The moments of a pixel that is always black only shrink. They must not become slow denormal numbers."""
    trainer = Trainer(TrialConfig(latent_dim=2, width=16, epochs=2), few_digits)
    trainer.inputs = trainer.inputs.clone()
    trainer.inputs[:, :, 0, 0] = 0
    trainer.train_epoch()
    saved = trainer.state()
    first = saved["optimizer"]["state"][0]["exp_avg"]
    assert first.shape == (16, 64) and not first[:, 0].any()
    first[:, 0] = 1e-39
    trainer.load(saved)
    trainer.train_epoch()
    assert not trainer.state()["optimizer"]["state"][0]["exp_avg"][:, 0].any()
    assert (torch.tensor(1e-39) * 0.9).item() > 0


def test_a_caller_that_measures_the_end_itself_spares_the_last_evaluation(few_digits: ImageData) -> None:
    config = _config(epochs=16)
    whole = list(train(config, few_digits, evaluate=_evaluate))
    spared = list(train(config, few_digits, evaluate=_evaluate, evaluate_last=False))
    assert _numbers(spared[:-1]) == _numbers(whole[:-1])
    assert spared[-1].train == whole[-1].train and whole[-1].metrics and not spared[-1].metrics
