"""What every density over whitened codes can do."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
import torch.nn as nn
from torch import Tensor

LOG_TWO_PI = math.log(2 * math.pi)


class Density(nn.Module, ABC):
    """A density over whitened codes [n, r]: mean 0, covariance I, no unit without variance.

    The constructor takes only what is in `sizes`. It sets no fitted parameters; `fit` does, or a loaded state. All that
    is fitted is in parameters and buffers, so that a checkpoint holds it.

    Attributes:
        name: What records and exported models call it.
    """

    kind: ClassVar[str] = "prior"
    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, train: Tensor, held_out: Tensor, seed: int) -> Self:
        """A density fitted to codes.

        Args:
            train: Codes [n, r], float64 on the CPU, r at least 1.
            held_out: Codes [m, r] of other images. They decide sizes and when to stop.
            seed: The same seed gives the same density.
        """

    @property
    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """The arguments of the constructor: numbers and text."""

    @abstractmethod
    def log_prob(self, u: Tensor) -> Tensor:
        """log p(u), or a lower bound on it, of codes [n, r]: [n], nats. Densities are compared by it, so it integrates
        to at most one."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        """n draws, [n, r], all from the generator."""
