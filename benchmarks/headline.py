"""Compares the time of the eighteen models of `latent_dim` on MNIST, all included, with that of their arithmetic.

    python -m benchmarks.headline --data-dir ../shared/data

The study is the command that a user types, with an empty cache. The lower bound is the time of its arithmetic with as
many processes as the study has slots, none ever idle: every trial's images at the minimal loop's rate, the steps of the
first stage and of the feature network, and the forward passes of every evaluation, counted by running one. It does
not include the start of Ray, Fréchet distances, neighbours, mixtures, checkpoints and pictures. The training rates
are measured before and after the study, the rest after it. Without MNIST in `--data-dir` nothing is measured.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.bare import BareLoop
from benchmarks.options import DataOption, EpochsOption, SlotsOption
from benchmarks.rows import Row, print_rows
from benchmarks.studies import phase_rows, run_module, trial_records, usable_cores
from benchmarks.trainer import made_codes, made_data, rate
from study.cli import run_command
from study.config import DataSummary, TrialConfig, UserError
from study.data.datasets import ImageData, load_dataset
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator
from study.measure.instrument import FAMILIES, network_spec
from study.measure.network_training import BATCH, Task, train_networks
from study.model import stacked
from study.space import load_space
from study.training.loop import Trainer
from study.training.pretrain import pretrain
from study.tuning.measuring import evaluations

MOST_OVER_BOUND = 1.4
MOST_OF_AE = 0.5
"""Largest sample FID of WAE-MMD relative to the AE's at eight dimensions: a study that trains badly is fast."""
IMAGES = 6_400
STEPS = 50

Passes = list[tuple[str, tuple[int, ...]]]
"""Forward passes: part of the model and shape of the batch."""


def trial_configs(summary: DataSummary, epochs: int | None) -> list[TrialConfig]:
    """The study's trials."""
    import optuna

    space = load_space("latent_dim").space
    fixed = {} if epochs is None else {"epochs": epochs}
    trials = (optuna.trial.FixedTrial(dict(point)) for point in space.first_points(summary))
    return [space.config(summary, space.suggest(trial, summary), fixed) for trial in trials]


def in_processes(count: int, work: Callable[..., list[float]], *arguments: Any) -> list[float]:
    """Runs `work` in `count` processes at once and averages each of the numbers it returns."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, _begin_together, (context.Barrier(count),)) as pool:
        results = [pool.apply_async(work, arguments) for _ in range(count)]
        return [statistics.mean(figures) for figures in zip(*(result.get() for result in results), strict=True)]


def _begin_together(barrier: Barrier) -> None:
    torch.set_num_threads(1)
    barrier.wait()


def training_rates(configs: Sequence[TrialConfig]) -> list[float]:
    """Images per second of each config in the minimal loop."""
    data = made_data(IMAGES)
    codes = made_codes(data).codes
    rates = []
    for config in configs:
        loop = BareLoop(config, data, codes)
        for start in range(0, IMAGES // 10, config.batch_size):
            loop.step(loop.inputs[start : start + config.batch_size])
        rates.append(rate(loop.epoch, IMAGES))
    return rates


def preparation_seconds(summary: DataSummary) -> list[float]:
    """Seconds to train the first stage and the feature networks, estimated from a few steps of each."""
    stage = stacked.FirstStage(summary).requires_grad_(True)
    steps = max(stacked.LEAST_STEPS, stacked.EPOCHS * summary.train_size // stacked.BATCH_SIZE)
    x = torch.rand(stacked.BATCH_SIZE, *summary.shape)
    first_stage = steps * _step_seconds(stage, lambda: F.mse_loss(stage.decoder(stage.encoder(x)), x))
    return [first_stage, *(_network_seconds(summary, task) for task in FAMILIES.values())]


def _network_seconds(summary: DataSummary, task: Task) -> float:
    """Seconds to train one feature network, estimated from a few steps."""
    spec = network_spec(task, summary, networks=1)
    few = dataclasses.replace(spec, images=STEPS * BATCH)
    start = time.perf_counter()
    train_networks(made_data(1_000, summary.shape), few)
    return (time.perf_counter() - start) * spec.images / few.images


def _step_seconds(model: nn.Module, loss: Callable[[], Tensor]) -> float:
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _parts(evaluator: Evaluator, trainer: Trainer) -> dict[str, Callable[[Tensor], Tensor]]:
    stage = trainer.model.first_stage
    assert stage is not None
    return {
        "encoder": trainer.model.encoder,
        "decoder": trainer.model.decoder,
        "first stage's encoder": stage.encoder,
        "first stage's decoder": stage.decoder,
        "feature network": evaluator.features,
        **({} if evaluator.second is None else {"second feature network": evaluator.second}),
    }


def evaluation_seconds(configs: Sequence[TrialConfig], data_dir: Path, cache: Path) -> list[float]:
    """Seconds of each config's forward passes: in an evaluation during training, then in the final one."""
    data = load_dataset("mnist", data_dir, download=False)
    evaluator = Evaluator(data, prepare_context(data, cache))
    seconds = []
    for config in configs:
        trainer = Trainer(config, data, pretrained=pretrain(config, data, cache))
        parts = _parts(evaluator, trainer)
        model = trainer.model
        during = _passes(evaluator, parts, lambda model=model: evaluator.search_metrics(model))
        end = _passes(evaluator, parts, lambda model=model: evaluator.final_metrics(model))
        seconds += [_replay(parts, during), _replay(parts, end)]
    return seconds


def _passes(evaluator: Evaluator, parts: dict[str, Callable[[Tensor], Tensor]], work: Callable[[], object]) -> Passes:
    """The forward passes that `work` makes."""
    found: Passes = []

    def note(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append((name, tuple(inputs[0].shape)))

    modules = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    hooks = [module.register_forward_pre_hook(functools.partial(note, name)) for name, module in modules.items()]
    work()
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def _replay(parts: dict[str, Callable[[Tensor], Tensor]], passes: Passes) -> float:
    inputs = {shape: torch.rand(shape) for _, shape in passes}
    start = time.perf_counter()
    for name, shape in passes:
        parts[name](inputs[shape])
    return time.perf_counter() - start


def lower_bound(
    configs: Sequence[TrialConfig], data: ImageData, slots: int, rates: Sequence[float], data_dir: Path, cache: Path
) -> dict[str, float]:
    """Seconds of arithmetic by phase if all slots are always busy."""
    training = 0.0
    for config, images_per_second in zip(configs, rates, strict=True):
        steps = data.summary.train_size // config.batch_size
        training += config.epochs * steps * config.batch_size / images_per_second
    preparation = sum(in_processes(slots, preparation_seconds, data.summary))
    one_size = [config for config in configs if config.latent_dim == configs[len(configs) // 2].latent_dim]
    measured = in_processes(slots, evaluation_seconds, one_size, data_dir, cache)
    repeats = len(configs) / len(one_size)
    during = repeats * evaluations(configs[0].epochs) * sum(measured[::2])
    phases = {
        "first stage and feature networks": preparation,
        "training": training,
        "evaluation": during + repeats * sum(measured[1::2]),
    }
    return {name: seconds / slots for name, seconds in phases.items()}


def measure(data_dir: Path, epochs: int | None, slots: int) -> list[Row]:
    """Runs the study between two measurements of the minimal loop, and compares."""
    data = load_dataset("mnist", data_dir, download=False)
    configs = trial_configs(data.summary, epochs)
    rates = in_processes(slots, training_rates, configs)
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "headline"
        command = ["--space", "latent_dim", "--dataset", "mnist", "--data-dir", str(data_dir), "--name", study.name]
        command += ["--runs-dir", folder, "--max-concurrent", str(slots)]
        changed = [] if epochs is None else ["--epochs", str(epochs)]
        wall = run_module("study.run", *command, *changed, log=Path(folder) / "study.log")
        after = in_processes(slots, training_rates, configs)
        rates = [statistics.mean(pair) for pair in zip(rates, after, strict=True)]
        bound = lower_bound(configs, data, slots, rates, data_dir, Path(folder) / "cache")
        phases, records = phase_rows(study, wall, slots), trial_records(study)
    if len(records) != len(configs):
        raise RuntimeError(f"{len(records)} trials ended, not {len(configs)}")
    total = sum(bound.values())
    return [
        Row("18 models, wall, s", wall.seconds),
        *(Row(f"lower bound: {name}, s", seconds) for name, seconds in bound.items()),
        Row("lower bound, s", total),
        Row("wall over lower bound", wall.seconds / total, MOST_OVER_BOUND, at_most=True),
        *phases,
        _quality(configs, records, full=epochs is None),
    ]


def _quality(configs: Sequence[TrialConfig], records: Sequence[Sequence[dict[str, Any]]], *, full: bool) -> Row:
    fids = {
        (config.method, config.latent_dim): epochs[-1]["val/sample_fid"]
        for config, epochs in zip(configs, records, strict=True)
    }
    ratio = fids["WAE-MMD", 8] / fids["AE", 8]
    return Row("sample FID of WAE-MMD over AE, 8 dimensions", ratio, MOST_OF_AE if full else None, at_most=True)


def main(
    data_dir: DataOption = Path("data"),
    epochs: EpochsOption = None,
    slots: SlotsOption = None,
) -> int:
    """Prints the rows if MNIST is in `data_dir`."""
    try:
        rows = measure(data_dir.absolute(), epochs, slots or usable_cores())
    except UserError as error:
        print(f"left out: {error}")
        return 0
    return print_rows(rows)


if __name__ == "__main__":
    run_command(main)
