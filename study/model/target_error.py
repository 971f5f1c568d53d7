"""A requested reconstruction error in place of a weight: w is adapted while the model trains.

GECO (Rezende & Viola, arXiv 1810.00597, §3 and algorithm 1) minimises R subject to a bound on the error, and adapts the
constraint's Lagrange multiplier by a factor that grows with how far a moving average of the error is from the bound.
Divided by that multiplier, its loss is ours: `D + w * R`, where w is the multiplier's inverse. So w grows by a factor
while the error is below the request, and shrinks while it is above, for every regularizer.

Three changes, because here the training's length is fixed and the error is to be the requested one at its end:

- An untrained model's error says little about its weight. So w follows the more closely the further the training is,
  and it waits while the error moves towards the request so fast that it will get there by itself. Without both, the
  smallest errors requested on digits were missed by 8 to 15 %, since w had shrunk a hundredfold in the first epochs.
- A model goes on learning to the end, so the right w goes on growing. Following it from behind left errors 2 to 5 %
  below the request. So w also moves as it has been moving lately.
- The error is measured on validation images, because a training error would miss the request by what the model
  overfits: by a fifth for small errors on digits. So w is chosen on them, as a search chooses its weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from study.config import TrialConfig

GAIN = 100.0
"""Rate at the training's end: d log w / d progress for each unit of log error ratio."""
LARGEST = 0.2
"""A larger log ratio counts as this: an error far from the request says no more than its direction."""
DRIFT = 0.1
"""Share of the training over which w's recent drift is summed up."""
FORGOTTEN = 0.25
"""Share of the drift that is forgotten in that time."""
FASTEST = 10.0
"""Largest drift: d log w / d progress."""
LEAST_CHECKS = 600
"""Observations that a training should have at least."""
HORIZON = 0.5
"""Share of the rest of the training for which the error is expected to go on changing as it does now."""
MEMORY = 0.03
"""Share of the training over which the moving averages forget by a factor of e."""
LONGEST = 0.01
"""A longer time between observations counts as this share of the training, so that no single one moves w by a lot."""
REACH = 1_000.0
"""w stays within this factor of where it began. A request that no weight fulfils ends there."""


@final
class WeightControl:
    """Adapts w so that the error at the end of the training is the requested one.

    Args:
        target_error: The requested mean squared error per pixel, above 0.
        weight: w at the start, above 0.

    Attributes:
        weight: w now.
    """

    def __init__(self, target_error: float, weight: float) -> None:
        self.target_error = target_error
        self.lowest, self.highest = weight / REACH, weight * REACH
        self.weight = weight
        self._progress = 0.0
        self._ratio = math.nan  # moving average of log(error / target_error)
        self._slope = 0.0  # moving average of its change per unit of progress
        self._drift = 0.0  # d log weight / d progress that is due to earlier observations

    def observe(self, progress: float, error: float) -> None:
        """Adapts w to an observation. One that is not finite is ignored.

        Args:
            progress: Share of the training done, in [0, 1], not less than before.
            error: Mean squared error per pixel, now, at least 0.
        """
        if not math.isfinite(error):
            return
        ratio = math.log(max(error, 1e-12)) - math.log(self.target_error)
        since = min(progress - self._progress, LONGEST)
        share = 1 - math.exp(-since / MEMORY)
        if math.isnan(self._ratio):
            self._ratio = ratio
        self._slope += share * ((ratio - self._ratio) / MEMORY - self._slope)
        self._ratio += share * (ratio - self._ratio)
        self._progress = progress
        expected = ratio + HORIZON * (1 - progress) * self._slope
        waits = expected * ratio <= 0
        push = 0.0 if waits else -GAIN * progress * max(-LARGEST, min(LARGEST, expected))
        factor = math.exp(since * (push + self._drift))
        drift = self._drift + since / DRIFT * (push - FORGOTTEN * self._drift)
        self._drift = max(0.0, min(FASTEST, drift))
        self.weight = max(self.lowest, min(self.highest, self.weight * factor))

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint must hold so that training continues exactly as before."""
        return {
            "weight": self.weight,
            "progress": self._progress,
            "ratio": self._ratio,
            "slope": self._slope,
            "drift": self._drift,
        }

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restores what `state_dict` returned."""
        self.weight, self._progress, self._ratio = state["weight"], state["progress"], state["ratio"]
        self._slope, self._drift = state["slope"], state["drift"]


def in_turn(images: Tensor, turn: int, count: int) -> Tensor:
    """The images of a turn, so that successive turns go round and round through all of them.

    Args:
        images: [N, ...].
        turn: From 0.
        count: Images in a turn; all of them if there are not as many.
    """
    count = min(count, len(images))
    rows = torch.arange(turn * count, (turn + 1) * count, device=images.device)
    return images[rows % len(images)]


def build_control(config: TrialConfig) -> WeightControl | None:
    """The control of a trial that requests an error; None for one whose weight stays as it is."""
    return WeightControl(config.target_error, config.weight) if config.target_error else None
