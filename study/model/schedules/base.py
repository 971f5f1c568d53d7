"""Annealing of the regulariser's weight: m(t) in `loss = D + w * m(t) * R`.

A schedule maps progress, the share of all training steps done, to a multiplier in [0, 1]. It reaches exactly 1 at
`fraction` of the training and stays there, so a finished trial has trained at the weight that is recorded for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, final


class Schedule(ABC):
    """A multiplier as a function of progress and, if the schedule has a state, of what it has observed.

    A component derives from it if it observes, and is built from `fraction`; without a state it is a `Curve`.
    """

    kind: ClassVar[str] = "annealing"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

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
