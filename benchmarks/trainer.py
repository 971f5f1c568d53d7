"""Compares our training loop with a bare one: what do annealing, records and generality cost a step?

    python -m benchmarks.trainer

The minimal loop is `benchmarks.bare`. Both use the same network, data, batch size and one thread, and run alternately;
the result is the median ratio of images per second over the pairs. If pythae is installed
(`pip install -e '.[peers]'`), its trainer is measured too. Training in bf16 is compared with float32 by CPU time:

    python -m benchmarks.trainer --only precision
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated
from unittest import mock

import torch
import typer
from torch import Tensor

from benchmarks.bare import BareLoop
from benchmarks.rows import Row, interleaved, print_rows, seconds
from study.cli import run_command
from study.config import DataSummary, TrialConfig
from study.data.datasets import ImageData
from study.data.splits import Split
from study.model.autoencoder import Autoencoder
from study.model.building import build_autoencoder
from study.model.precision import has_fast_bf16
from study.model.stacked import FirstStage
from study.training import loop
from study.training.loop import Trainer
from study.training.pretrained import Pretrained

PAIRS, PEER_PAIRS = 7, 3
IMAGES = 12_800
BAR = 0.95
PRECISION_BAR = 1.7
"""bf16 over float32, wanted where the processor has instructions for it."""

_KL = {"encoder": "gaussian", "regularizer": "kl", "weight": 1.0}
_MMD = {"regularizer": "mmd", "kernel": "imq", "weight": 100.0}
_GAN = {"regularizer": "adversarial", "weight": 10.0}
_MLP = {"network": "mlp", "width": 512, "latent_dim": 8, "batch_size": 128, "learning_rate": 1e-3, "epochs": 1000}
_CONV = {**_MLP, "network": "conv", "width": 16}
_STACKED = {**_MLP, "network": "stacked"}
LONG_EPOCHS = 15
"""After that many epochs on random images, most of Adam's moments are denormal numbers unless these are flushed."""
CASES: dict[str, dict[str, str | int | float]] = {
    "mlp AE": _MLP,
    "mlp VAE": {**_MLP, **_KL},
    "mlp WAE-MMD": {**_MLP, **_MMD},
    "mlp WAE-GAN": {**_MLP, **_GAN},
    "conv AE": _CONV,
    "conv VAE": {**_CONV, **_KL},
    "conv WAE-MMD": {**_CONV, **_MMD},
    "conv WAE-GAN": {**_CONV, **_GAN},
    "stacked AE": _STACKED,
    "stacked VAE": {**_STACKED, **_KL},
    "stacked WAE-MMD": {**_STACKED, **_MMD},
    "stacked WAE-GAN": {**_STACKED, **_GAN},
}
PRECISION_CASES: dict[str, tuple[dict[str, str | int | float], tuple[int, int, int], float | None]] = {
    **{
        name: (CASES[name], (1, 28, 28), PRECISION_BAR) for name in ("mlp AE", "mlp WAE-MMD", "conv AE", "conv WAE-MMD")
    },
    "mlp of 1,024": ({**_MLP, "width": 1024}, (1, 28, 28), PRECISION_BAR),
    "conv of 32, 32 px": ({**_CONV, "width": 32}, (3, 32, 32), PRECISION_BAR),
    "mlp of 128, 8 px": ({**_MLP, "width": 128, "batch_size": 64}, (1, 8, 8), None),
    "conv of 16, 8 px": ({**_CONV, "batch_size": 64}, (1, 8, 8), None),
}
"""Trial parameters, the images' channels, height and width, and the bar, to compare bf16 with float32; the last two are
the defaults' sizes on digits."""

_DEEP = {**_MLP, **_KL, "network": "deep", "width": 16, "batch_size": 64, "likelihood": "laplace"}
LAYOUT_CASES: dict[str, tuple[dict[str, str | int | float], tuple[int, int, int]]] = {
    "conv VAE": (CASES["conv VAE"], (1, 28, 28)),
    "conv VAE of 32, 32 px": ({**CASES["conv VAE"], "width": 32}, (3, 32, 32)),
    "residual_f8, 32 px": ({**_DEEP, "network": "residual_f8", "latent_dim": 64, "width": 32}, (3, 32, 32)),
    "deep, 32 px": (_DEEP, (3, 32, 32)),
    "deep, 64 px": (_DEEP, (3, 64, 64)),
}
"""Trial parameters, and the images' channels, height and width."""


class Part(StrEnum):
    """What `--only` names."""

    LOOP = "loop"
    PRECISION = "precision"
    MEMORY = "memory"


def made_data(images: int, shape: tuple[int, int, int] = (1, 28, 28)) -> ImageData:
    """Random images: a training step costs the same on any."""
    channels, height, width = shape
    pixels = torch.randint(0, 256, (images, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(pixels, torch.zeros(images, dtype=torch.int64))
    summary = DataSummary(
        name="made",
        channels=channels,
        height=height,
        width=width,
        train_size=images,
        validation_size=images,
        test_size=images,
        num_classes=1,
        total_variance=65.0,
        hash="made",
        defaults={},
    )
    return ImageData("made", split, split, split, ("one",), summary)


def made_codes(data: ImageData) -> Pretrained:
    """An untrained first stage and random codes: a step costs the same on any."""
    stage = FirstStage(data.summary)
    stage.scale.fill_(1)
    shape = (len(data.train), *stage.summary.shape)
    codes = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return Pretrained(stage.state_dict(), codes * math.sqrt(data.summary.total_variance / codes[0].numel()))


def rate(epoch: Callable[[], object], images: int) -> float:
    """Images per second of an epoch."""
    return images / seconds(epoch)


def measure(name: str, config: TrialConfig, data: ImageData, pairs: int) -> list[Row]:
    """The rows of one case."""
    pretrained = made_codes(data) if config.network == "stacked" else Pretrained()
    images = len(data.train)
    trainer = Trainer(config, data, pretrained=pretrained)
    bare = BareLoop(config, data, pretrained.codes)
    trainer.train_epoch()
    bare.epoch()
    ours, theirs, ratio = interleaved(
        lambda: rate(trainer.train_epoch, images), lambda: rate(bare.epoch, images), pairs
    )
    rows = [
        Row(f"{name}: ours, images/s", ours),
        Row(f"{name}: bare loop, images/s", theirs),
        Row(f"{name}: ours over bare loop", ratio, BAR),
    ]
    if (peer := _peer(config, data, pretrained.codes)) is not None:
        peer()
        _, theirs, ratio = interleaved(
            lambda: rate(trainer.train_epoch, images), lambda: rate(peer, images), min(pairs, PEER_PAIRS)
        )
        rows += [Row(f"{name}: pythae, images/s", theirs), Row(f"{name}: ours over pythae", ratio)]
    return rows


def measure_denormals(data: ImageData, pairs: int) -> list[Row]:
    """The gain from flushing denormal numbers to zero, late in a long training."""
    trainers = [Trainer(TrialConfig.from_params(_MLP), data) for _ in range(2)]
    images = len(data.train)

    def plain() -> float:
        with mock.patch.object(torch, "set_flush_denormal"):
            return rate(trainers[1].train_epoch, images)

    for _ in range(LONG_EPOCHS):
        trainers[0].train_epoch()
        plain()
    flushed, kept, ratio = interleaved(lambda: rate(trainers[0].train_epoch, images), plain, pairs)
    return [
        Row(f"mlp AE after {LONG_EPOCHS} epochs, images/s", flushed),
        Row(f"mlp AE after {LONG_EPOCHS} epochs, denormals kept, images/s", kept),
        Row("denormals flushed over kept", ratio),
    ]


def measure_channels_last(images: int, pairs: int) -> Iterator[Row]:
    """The gain from channels-last memory, in training and in a first stage's decoder without gradients."""
    for name, (params, shape) in LAYOUT_CASES.items():
        data = made_data(images // shape[0] ** 2, shape)  # fewer of the images that take longer
        first, last = (_laid_out(params, data, form) for form in (torch.contiguous_format, torch.channels_last))
        for trainer in (first, last):
            trainer.train_epoch()
        _, _, ratio = interleaved(lambda last=last: _cpu_rate(last), lambda first=first: _cpu_rate(first), pairs)
        yield Row(f"{name}: channels last over first", ratio)
    data = made_data(images)
    codes = torch.randn(len(data.train), *FirstStage(data.summary).summary.shape)
    stages = [FirstStage(data.summary) for _ in range(2)]
    stages[1].to(memory_format=torch.channels_last)

    def decoded(stage: FirstStage) -> float:
        with torch.no_grad():
            return rate(lambda: [stage.decoder(batch) for batch in codes.split(256)], images)

    decoding = interleaved(lambda: decoded(stages[1]), lambda: decoded(stages[0]), pairs)[2]
    yield Row("first stage, decoding: channels last over first", decoding)


def _laid_out(params: dict[str, str | int | float], data: ImageData, form: torch.memory_format) -> Trainer:
    """A trainer whose weights, and so Adam's moments too, lie in memory in this form."""

    def build(config: TrialConfig, summary: DataSummary) -> Autoencoder:
        return build_autoencoder(config, summary).to(memory_format=form)

    with mock.patch.object(loop, "build_autoencoder", build):
        return Trainer(TrialConfig.from_params(params), data)


def measure_precision(images: int, pairs: int) -> Iterator[Row]:
    """The gain from training in bf16."""
    is_fast = has_fast_bf16(torch.device("cpu"))
    for name, (params, shape, bar) in PRECISION_CASES.items():
        data = made_data(images, shape)
        exact, low = (Trainer(TrialConfig.from_params({**params, "precision": p}), data) for p in ("float32", "bf16"))
        for trainer in (exact, low):
            trainer.train_epoch()
        ours, theirs, ratio = interleaved(lambda low=low: _cpu_rate(low), lambda exact=exact: _cpu_rate(exact), pairs)
        yield Row(f"{name}: precision=bf16, images/s", ours)
        yield Row(f"{name}: precision=float32, images/s", theirs)
        yield Row(f"{name}: precision=bf16 over float32", ratio, bar if is_fast else None)


def _cpu_rate(trainer: Trainer) -> float:
    """Images per second of this process's CPU time: with one thread, other processes weigh less on it."""
    start = time.process_time()
    trainer.train_epoch()
    return trainer.steps * trainer.batch_size / (time.process_time() - start)


def _peer(config: TrialConfig, data: ImageData, codes: Tensor | None) -> Callable[[], None] | None:
    """An epoch of pythae; None if it is not installed or lacks the method."""
    if importlib.util.find_spec("pythae") is None:
        return None
    from benchmarks.pythae_peer import MODELS, pythae_epoch

    return pythae_epoch(config, data, codes) if config.method in MODELS else None


def main(
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of epochs of each case.")] = PAIRS,
    images: Annotated[int, typer.Option(min=1, help="Images of an epoch.")] = IMAGES,
    only: Annotated[Part | None, typer.Option(help="One part of it.", show_default="all, one after another")] = None,
) -> int:
    """Prints the rows of every case."""
    torch.set_num_threads(1)
    data = made_data(images)
    status = 0
    if only in (None, Part.LOOP):
        if importlib.util.find_spec("pythae") is None:
            print("pythae is left out: pip install -e '.[peers]'")
        for name, params in CASES.items():
            status |= print_rows(measure(name, TrialConfig.from_params(params), data, pairs))
    if only in (None, Part.PRECISION):
        status |= print_rows(measure_precision(images // 8, 3 * pairs))
    if only in (None, Part.MEMORY):
        status |= print_rows(measure_denormals(data, pairs))
        status |= print_rows(measure_channels_last(images, pairs))
    return status


if __name__ == "__main__":
    run_command(main)
