"""Our training loop against a bare one: what do annealing, records and generality cost a step?

    python -m benchmarks.trainer

The bare loop, written here, is the least that trains the same model: one gather, forward, loss, backward, fused
Adam and `zero_grad(set_to_none=True)`. Same network, data and batch, one thread, runs interleaved; the figure is
the median ratio of images per second over seven pairs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

from benchmarks.rows import Row, interleaved, print_rows
from study.config import DataSummary, TrialConfig
from study.data.datasets import ImageData
from study.data.splits import Split
from study.model.autoencoder import build_autoencoder, compute_loss
from study.model.regularizers import build_regularizer
from study.training.loop import Trainer

PAIRS = 7
IMAGES = 12_800
BAR = 0.95
_KL = {"encoder": "gaussian", "regularizer": "kl", "weight": 1.0}
_MMD = {"regularizer": "mmd", "kernel": "imq", "weight": 100.0}
_MLP = {"network": "mlp", "width": 512, "latent_dim": 8, "batch_size": 128, "learning_rate": 1e-3, "epochs": 1000}
CASES: dict[str, dict[str, str | int | float]] = {
    "mlp AE": _MLP,
    "mlp VAE": {**_MLP, **_KL},
    "mlp WAE-MMD": {**_MLP, **_MMD},
    "conv VAE": {**_MLP, **_KL, "network": "conv", "width": 16},
}


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


def bare_loop(config: TrialConfig, data: ImageData) -> Callable[[], None]:
    """One epoch of the least that trains."""
    torch.manual_seed(config.seed)
    model = build_autoencoder(config, data.summary)
    regularizer = build_regularizer(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    images = data.train.images.float() / 255
    generator = torch.Generator().manual_seed(config.seed)

    def epoch() -> None:
        for batch in torch.randperm(len(images), generator=generator).split(config.batch_size):
            loss = compute_loss(model, regularizer, images[batch], config.weight, generator).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return epoch


def _rate(epoch: Callable[[], object], images: int) -> float:
    start = time.perf_counter()
    epoch()
    return images / (time.perf_counter() - start)


def main() -> int:
    """Prints a row per case."""
    torch.set_num_threads(1)
    data = made_data(IMAGES)
    rows = []
    for name, params in CASES.items():
        config = TrialConfig.from_params(params)
        trainer = Trainer(config, data)
        bare = bare_loop(config, data)
        trainer.train_epoch()
        bare()
        ours, theirs, ratio = interleaved(
            lambda run=trainer.train_epoch: _rate(run, IMAGES), lambda run=bare: _rate(run, IMAGES), PAIRS
        )
        rows += [
            Row(f"{name}: ours, images/s", ours),
            Row(f"{name}: bare loop, images/s", theirs),
            Row(f"{name}: ours over bare loop", ratio, BAR),
        ]
    return print_rows(rows)


if __name__ == "__main__":
    sys.exit(main())
