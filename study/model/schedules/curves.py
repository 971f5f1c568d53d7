"""Annealing curves, as functions of the share of the ramp that is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from study.components import Curve


@final
@dataclass(frozen=True)
class Constant(Curve):
    """Full weight from the first step."""

    name: ClassVar[str] = "constant"

    def __call__(self, share: float) -> float:
        return 1.0


@final
@dataclass(frozen=True)
class Linear(Curve):
    """Warm-up along a straight line."""

    name: ClassVar[str] = "linear"

    def __call__(self, share: float) -> float:
        return share


@final
@dataclass(frozen=True)
class Sigmoid(Curve):
    """The curve of Bowman et al. 1511.06349, §3.1, stretched to run from exactly 0 to exactly 1."""

    name: ClassVar[str] = "sigmoid"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"steepness": (1e-2, 1e3)}
    steepness: float = 10.0

    def __call__(self, share: float) -> float:
        # A logistic curve is (1 + tanh)/2; dividing by tanh's end value normalises both ends at once.
        half = self.steepness / 4
        return 0.5 + 0.5 * math.tanh(half * (2 * share - 1)) / math.tanh(half)


@final
@dataclass(frozen=True)
class Cosine(Curve):
    """Half a cosine wave: flat at both ends."""

    name: ClassVar[str] = "cosine"

    def __call__(self, share: float) -> float:
        return 0.5 - 0.5 * math.cos(math.pi * share)


@final
@dataclass(frozen=True)
class Cyclical(Curve):
    """Cycles of a ramp, which takes a share of the cycle, and full weight (Fu et al. 1903.10145, eq. 6)."""

    name: ClassVar[str] = "cyclical"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"cycles": (1, 1000), "ramp_share": (1e-3, 1)}
    cycles: int = 4
    ramp_share: float = 0.5

    def __call__(self, share: float) -> float:
        return min(1.0, (share * self.cycles) % 1.0 / self.ramp_share)


@final
@dataclass(frozen=True)
class Delayed(Curve):
    """Zero for the first half, then a straight ramp."""

    name: ClassVar[str] = "delayed"

    def __call__(self, share: float) -> float:
        return max(0.0, 2 * share - 1)
