"""Annealing of the regulariser's weight: m(t) in `loss = D + w * m(t) * R`.

A schedule maps progress, the share of all training steps done, to a multiplier in [0, 1]. It reaches exactly 1 at
`fraction` of the training and stays there, so a finished trial has trained at the weight that is recorded for it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import final

from study.config import TrialConfig

CYCLES = 4
RAMP_SHARE_OF_CYCLE = 0.5
SIGMOID_STEEPNESS = 10.0


def constant(share: float) -> float:
    """Full weight from the first step."""
    return 1.0


def linear(share: float) -> float:
    """Warm-up along a straight line."""
    return share


def sigmoid(share: float) -> float:
    """The curve of Bowman et al. 1511.06349, §3.1, stretched to run from exactly 0 to exactly 1."""
    # A logistic curve is (1 + tanh)/2; dividing by tanh's end value normalises both ends at once.
    half = SIGMOID_STEEPNESS / 4
    return 0.5 + 0.5 * math.tanh(half * (2 * share - 1)) / math.tanh(half)


def cosine(share: float) -> float:
    """Half a cosine wave: flat at both ends."""
    return 0.5 - 0.5 * math.cos(math.pi * share)


def cyclical(share: float) -> float:
    """Four cycles of a ramp and an equally long time at full weight (Fu et al. 1903.10145, eq. 6)."""
    return min(1.0, (share * CYCLES) % 1.0 / RAMP_SHARE_OF_CYCLE)


def delayed(share: float) -> float:
    """Zero for the first half, then a straight ramp."""
    return max(0.0, 2 * share - 1)


class Schedule(ABC):
    """A multiplier as a function of progress and, if the schedule has a state, of what it has observed."""

    @abstractmethod
    def multiplier(self, progress: float) -> float:
        """m(t) in [0, 1] at `progress` in [0, 1]; 1 at progress 1."""

    @abstractmethod
    def waiting(self, progress: float) -> bool:
        """Whether it needs to observe how well the model reconstructs now."""

    @abstractmethod
    def observe(self, progress: float, unexplained: float) -> None:
        """Observes the share of the data's variance that reconstructions leave unexplained: at least 0, and 1 for the
        mean image."""

    @abstractmethod
    def state_dict(self) -> dict[str, float]:
        """What a checkpoint must hold so that training continues exactly as before."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restores what `state_dict` returned."""


@final
class Shape(Schedule):
    """A curve over the first `fraction` of the training, then 1. It has no state.

    Args:
        curve: The multiplier as a function of the share of the ramp done, in [0, 1).
        fraction: Share of the training until full weight, in [0, 1]; 0 means full weight at once.
    """

    def __init__(self, curve: Callable[[float], float], fraction: float) -> None:
        self.curve = curve
        self.fraction = fraction

    def multiplier(self, progress: float) -> float:
        return 1.0 if progress >= self.fraction else self.curve(progress / self.fraction)

    def waiting(self, progress: float) -> bool:
        return False

    def observe(self, progress: float, unexplained: float) -> None:
        pass

    def state_dict(self) -> dict[str, float]:
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        pass


@final
class QualityGated(Schedule):
    """Zero until the reconstruction is good enough, then a straight ramp (done by hand in Bowman et al. 1511.06349).

    The gate opens when reconstructions leave at most `quality` of the data's variance unexplained, for any likelihood,
    or at a deadline of half of `fraction`. The ramp then takes as long as the deadline. Without a deadline a trial that
    never gets there would train as a plain autoencoder but be recorded under its weight.

    Args:
        fraction: Share of the training after which the weight is full at the latest, in [0, 1].
        quality: The unexplained share of the variance that opens the gate.

    Attributes:
        opened_at: Progress at which the quality opened the gate. Infinite if it has not, or if the deadline came first.
    """

    def __init__(self, fraction: float, quality: float = 0.5) -> None:
        self.ramp = self.deadline = fraction / 2
        self.quality = quality
        self.opened_at = math.inf

    def multiplier(self, progress: float) -> float:
        start = min(self.opened_at, self.deadline)
        if progress >= start + self.ramp:
            return 1.0
        return max(0.0, (progress - start) / self.ramp)

    def waiting(self, progress: float) -> bool:
        return progress < min(self.opened_at, self.deadline)

    def observe(self, progress: float, unexplained: float) -> None:
        if self.waiting(progress) and unexplained <= self.quality:
            self.opened_at = progress

    def state_dict(self) -> dict[str, float]:
        return {"opened_at": self.opened_at}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.opened_at = state["opened_at"]


def build_schedule(config: TrialConfig) -> Schedule:
    """The schedule that a trial names.

    Raises:
        UserError: `annealing` is neither in `SCHEDULES` nor a component of the space.
    """
    if config.annealing in config.components.of_kind("annealing"):
        return Shape(config.build("annealing", {}), config.annealing_fraction)
    return config.build("annealing", SCHEDULES, config.annealing_fraction)


SCHEDULES: dict[str, Callable[[float], Schedule]] = {
    "constant": partial(Shape, constant),
    "linear": partial(Shape, linear),
    "sigmoid": partial(Shape, sigmoid),
    "cosine": partial(Shape, cosine),
    "cyclical": partial(Shape, cyclical),
    "delayed": partial(Shape, delayed),
    "quality_gated": QualityGated,
}
