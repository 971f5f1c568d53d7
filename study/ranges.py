"""What each number of an option, a record or a trial may be, and each text that is no component's name."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that a number may have.

    Attributes:
        low: The smallest, or what it must exceed.
        high: The largest, or what it must stay below.
        is_open: The ends do not belong to it.
        whole_above: Above this, it must be a whole number.
    """

    low: float
    high: float
    is_open: bool = False
    whole_above: float = math.inf

    def holds(self, value: float) -> bool:
        """Whether a value lies in it; NaN does not."""
        inside = self.low < value < self.high if self.is_open else self.low <= value <= self.high
        return inside and (value <= self.whole_above or float(value).is_integer())

    def __str__(self) -> str:
        if self.high == _LARGEST:
            return f"a finite number, {'above' if self.is_open else 'at least'} {self.low:g}"
        if self.whole_above < self.high:
            return f"from {self.low:g} to {self.whole_above:g}, or a whole number up to {self.high:.15g}"
        return (
            f"above {self.low:g} and below {self.high:g}"
            if self.is_open
            else f"from {self.low:.15g} to {self.high:.15g}"
        )


_LARGEST = sys.float_info.max
_COUNT = Range(1, 2**31 - 1)
RANGES: dict[str, Range] = {
    "seed": Range(0, 2**31 - 1),  # NumPy's older generators take 32 bits, and replicates count upwards from it
    "epochs": Range(1, 999_999),  # as many digits as the names of checkpoints have
    "num_trials": Range(1, 1_000_000),
    "eta": Range(1, 1e6, is_open=True),
    "latent_dim": _COUNT,
    "width": _COUNT,
    "batch_size": Range(2, 2**31 - 1),
    "weight": Range(0, _LARGEST),
    "target_error": Range(0, _LARGEST),
    "perceptual_weight": Range(0, _LARGEST),
    "total_variation_weight": Range(0, _LARGEST),
    "learning_rate": Range(0, _LARGEST, is_open=True),
    "weight_decay": Range(0, _LARGEST),
    "annealing_fraction": Range(0, 1),
    "image_size": Range(8, 512),
    "patience": _COUNT,
    "replicates": Range(0, 1000),
    "time_budget": Range(1, 1e9),
    "cpus_per_trial": Range(0.01, 1e6),
    "gpus_per_trial": Range(0, 1e6, whole_above=1),
    "max_concurrent": Range(1, 1_000_000),
    "max_failures": Range(0, 1_000_000),
}
"""What each number may be, by the name of the option, of the field in `study.json` or of the trial parameter.

Commands, records and search spaces all ask here, so that none accepts what another refuses.
"""

CHOICES: dict[str, tuple[str, ...]] = {"encoder": ("deterministic", "gaussian"), "precision": ("float32", "bf16")}
"""What a trial parameter that is text may be, except for names of components and data sets."""


def typed(kind: str, value: Any) -> str | int | float:
    """A value of a parameter, converted from text where it is a number.

    Args:
        kind: `str`, `int` or `float`.
        value: As a space, a record or MLflow gives it.

    Raises:
        TypeError, ValueError, OverflowError: It is not of that kind.
    """
    if isinstance(value, bool) or (kind == "str" and not isinstance(value, str)):
        raise ValueError(value)
    if kind == "str":
        return value
    number = float(value)
    if kind == "int":
        if isinstance(value, int):
            return value
        if not number.is_integer():
            raise ValueError(value)
        return int(value) if isinstance(value, str) else int(number)
    return number
