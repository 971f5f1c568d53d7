"""A ramp that waits for the reconstruction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, final

from study.model.schedules.base import Schedule


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

    name: ClassVar[str] = "quality_gated"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"quality": (0, 1)}

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
