"""A study with parts of its own: a network, a penalty, a metric and data.

    python -m study.run --space examples/my_space.py

Nothing here is part of the package: the study copies this file, and every process that needs it reads the copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

import study


@final
@dataclass(frozen=True)
class Mixer(study.Network):
    """Layers of equal width with shortcuts around them. `mixer.depth` is searched."""

    name: ClassVar[str] = "mixer"
    depth: int = 2

    def build(self, size: study.NetworkSize) -> tuple[nn.Module, nn.Module]:
        pixels = size.height * size.width
        encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(size.channels * pixels, size.hidden),
            *[Shortcut(size.hidden) for _ in range(self.depth)],
            nn.Linear(size.hidden, size.encoder_outputs),
        )
        decoder = nn.Sequential(
            nn.Linear(size.latent_dim, size.hidden),
            *[Shortcut(size.hidden) for _ in range(self.depth)],
            nn.Linear(size.hidden, size.decoder_channels * pixels),
            nn.Unflatten(1, (size.decoder_channels, size.height, size.width)),
        )
        return encoder, decoder


class Shortcut(nn.Module):
    """x + a layer of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


@final
class Sinkhorn(study.Regularizer):
    """Entropic optimal-transport cost between a batch's codes and draws from the prior (Cuturi, 1306.0895)."""

    name: ClassVar[str] = "sinkhorn"
    methods: ClassVar[Mapping[str, str]] = {"deterministic": "WAE-Sinkhorn"}
    weight_range: ClassVar[tuple[float, float]] = (1e-3, 1.0)

    def __init__(self, config: study.TrialConfig, blur: float = 0.5, rounds: int = 10) -> None:
        super().__init__()
        self.blur, self.rounds = blur, rounds

    def forward(self, model: nn.Module, posterior: Any, z: Tensor, generator: torch.Generator | None) -> Tensor:
        prior = study.draw_prior(z, generator)
        cost = torch.cdist(z, prior).square() / z.shape[1]  # [B, B]
        log_kernel = -cost / self.blur
        f, g = cost.new_zeros(len(z)), cost.new_zeros(len(z))
        for _ in range(self.rounds):
            f = -torch.logsumexp(log_kernel + g, dim=1)
            g = -torch.logsumexp(log_kernel + f[:, None], dim=0)
        plan = (log_kernel + f[:, None] + g).softmax(dim=1)
        return (plan * cost).sum(dim=1).mean()


def ink_difference(real: Tensor, generated: Tensor) -> float:
    """How far the brightness of generated images is from that of real ones, [N, C, H, W] each."""
    return float((real.mean() - generated.mean()).abs())


def shapes() -> study.ImageData:
    """600 discs and squares of random place and size, 16 x 16, with their class."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    images, labels = np.zeros((600, 16, 16), np.uint8), random.integers(0, 2, 600)
    for image, label in zip(images, labels, strict=True):
        (cy, cx), radius = random.uniform(5, 11, 2), random.uniform(2, 5)
        far = np.hypot(y - cy, x - cx) if label else np.maximum(abs(y - cy), abs(x - cx))
        image[:] = 255 * np.clip(radius + 0.5 - far, 0, 1)
    return study.from_arrays(images, labels, classes=("square", "disc"))


def suggest(trial: Any, data: study.DataSummary) -> dict[str, Any]:
    low, high = study.weight_range(data, Sinkhorn)
    return {
        "latent_dim": trial.suggest_categorical("latent_dim", (2, 4, 8)),
        "weight": trial.suggest_float("weight", low, high, log=True),
        "mixer.depth": trial.suggest_int("mixer.depth", 1, 3),
    }


SPACE = study.SearchSpace(
    question="How does an own penalty trade reconstruction for samples?",
    suggest=suggest,
    base={"network": "mixer", "regularizer": "sinkhorn", "width": 64, "epochs": 30},
    baselines=lambda data: [{"regularizer": "none", "latent_dim": 8, "mixer.depth": 1}],
    num_trials=8,
    components=(
        Mixer,
        Sinkhorn,
        study.Metric(name="ink", direction="minimize", function=ink_difference, sees="images"),
        study.DataSource(name="shapes", load=shapes),
    ),
)
