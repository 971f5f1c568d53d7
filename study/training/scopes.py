"""What holds while an epoch is trained, and ends with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from study.config import TrialConfig


@contextlib.contextmanager
def denormals_flushed() -> Iterator[None]:
    """Treats numbers below 1.2e-38 as zero inside the block, on the CPU, on the thread that enters it.

    If a weight's gradient becomes zero (for a dead unit, or a pixel that is black in almost all images), its moments
    shrink to denormal numbers, which processors handle slowly. On random images, which leave many units dead, an epoch
    took twice as long from the ninth on (`benchmarks.trainer`). Threads that torch has already started are unaffected.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextlib.contextmanager
def own_randomness(config: TrialConfig, epoch: int) -> Iterator[None]:
    """Seeds torch's global generator by trial and epoch, if a user's own code may draw from it, as dropout does.

    So a trial that is repeated or resumed draws the same numbers. Built-in parts draw from the trainer's own generator.
    """
    if not config.runs_own_code:
        yield
        return
    with torch.random.fork_rng(drawn_devices()):
        [seed] = np.random.SeedSequence((config.seed, epoch)).generate_state(1, np.uint64)
        torch.manual_seed(int(seed))
        yield


def drawn_devices() -> list[int]:
    """The GPU, if any, whose global generator this process uses. It may see others, which other processes use."""
    return [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
