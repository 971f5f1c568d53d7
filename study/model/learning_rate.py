"""How the learning rate falls in the course of a training: the share of `learning_rate` that a step takes.

A schedule maps progress, the share of all training steps that were done before the step, to that share. So the first
step has the full rate, and a rate that falls to 0 reaches it after the last step. There is no warm-up: Adam's bias
correction keeps its first steps small, and these networks train without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from study.config import TrialConfig, UserError

RateSchedule = Callable[[float], float]
"""From progress in [0, 1) to the share of `learning_rate`, in (0, 1]. It has no state."""


def constant(progress: float) -> float:
    """The full rate in every step."""
    return 1.0


def linear(progress: float) -> float:
    """A straight line to 0."""
    return 1 - progress


def cosine(progress: float) -> float:
    """Half a cosine wave to 0 (Loshchilov & Hutter, arXiv 1608.03983, eq. 5, without restarts)."""
    return 0.5 + 0.5 * math.cos(math.pi * progress)


LEARNING_RATE_SCHEDULES: dict[str, RateSchedule] = {"constant": constant, "linear": linear, "cosine": cosine}


def rate_schedule(config: TrialConfig) -> RateSchedule:
    """The schedule that a trial names.

    Raises:
        UserError: There is no such schedule.
    """
    name = config.learning_rate_schedule
    if name not in LEARNING_RATE_SCHEDULES:
        raise UserError(f"learning_rate_schedule={name!r}: choose from {', '.join(LEARNING_RATE_SCHEDULES)}")
    return LEARNING_RATE_SCHEDULES[name]
