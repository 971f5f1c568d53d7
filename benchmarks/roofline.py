"""Measures where a training step's time goes, and how close it comes to what this machine can do on one thread.

    python -m benchmarks.roofline

The lower bound of a step is the longer of two times: its floating-point operations, counted while it runs, at the rate
of a large matrix product; and the bytes it must move, at the rate of a large copy. The bytes are ten numbers for each
parameter (read forward and backward; the gradient written and read; the parameter and Adam's two moments read and
written) and five for each activation (written, read forward and backward, its gradient written and read). Caches are
faster than that, so a step bound by memory can score above 1. The operators' shares are from the profiler; the rest is
Python and the profiler itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.rows import Row, print_rows, seconds
from benchmarks.trainer import CASES, made_codes, made_data
from study.cli import run_command
from study.config import TrialConfig
from study.training.loop import Trainer
from study.training.pretrained import Pretrained

PROFILED = ("mlp WAE-MMD", "conv WAE-MMD", "stacked WAE-MMD")
STEPS, REPEATS = 50, 5
SIDE, COPIED = 2_048, 64 * 2**20
NUMBERS_A_PARAMETER, NUMBERS_AN_ACTIVATION = 10, 5
OPERATORS = 5


def times(work: Callable[[], object]) -> list[float]:
    """Wall times of a few calls."""
    return [seconds(work) for _ in range(REPEATS)]


def peak_flops() -> float:
    """Floating-point operations per second of a large matrix product."""
    left, right, result = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE), torch.empty(SIDE, SIDE)
    return 2 * SIDE**3 / min(times(lambda: torch.mm(left, right, out=result)))


def peak_bandwidth() -> float:
    """Bytes per second, read and written, of a copy far larger than any cache."""
    source = torch.zeros(COPIED)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / min(times(lambda: target.copy_(source)))


def moved_bytes(trainer: Trainer) -> int:
    """Bytes that a training step must move, see the module's docstring."""
    activations = 0

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        nonlocal activations
        activations += output.numel()

    leaves = [module for module in trainer.model.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    trainer.train_epoch()
    for hook in hooks:
        hook.remove()
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    return 4 * (NUMBERS_A_PARAMETER * parameters + NUMBERS_AN_ACTIVATION * activations // trainer.steps)


def measure(name: str, flops: float, bandwidth: float) -> list[Row]:
    """The rows of one case."""
    config = TrialConfig.from_params(CASES[name])
    data = made_data(STEPS * config.batch_size)
    trainer = Trainer(config, data, pretrained=made_codes(data) if config.network == "stacked" else Pretrained())
    trainer.train_epoch()
    with FlopCounterMode(display=False) as counter:
        trainer.train_epoch()
    operations, moved = counter.get_total_flops() / STEPS, moved_bytes(trainer)
    step = statistics.median(times(trainer.train_epoch)) / STEPS
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
        wall = seconds(trainer.train_epoch)
    events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)[:OPERATORS]
    bound = max(operations / flops, moved / bandwidth)
    return [
        Row(f"{name}: operations per step, MFLOP", operations / 1e6),
        Row(f"{name}: bytes moved per step, MB", moved / 1e6),
        Row(f"{name}: step, ms", 1e3 * step),
        Row(f"{name}: bound by arithmetic, ms", 1e3 * operations / flops),
        Row(f"{name}: bound by memory, ms", 1e3 * moved / bandwidth),
        Row(f"{name}: lower bound over step", bound / step),
        *(Row(f"{name}: {event.key}, share", event.self_cpu_time_total / 1e6 / wall) for event in events),
    ]


def main() -> int:
    """Prints the machine's peaks and the rows of each case."""
    torch.set_num_threads(1)
    flops, bandwidth = peak_flops(), peak_bandwidth()
    status = print_rows(
        [Row("matrix product, GFLOP/s", flops / 1e9), Row("copy, GB/s read and written", bandwidth / 1e9)]
    )
    for name in PROFILED:
        status |= print_rows(measure(name, flops, bandwidth))
    return status


if __name__ == "__main__":
    run_command(main)
