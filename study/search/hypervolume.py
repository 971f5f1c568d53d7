"""What a search has got: the volume its front dominates, on log objectives, up to a point fixed once per study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from optuna._hypervolume import compute_hypervolume

from study.config import LOGARITHMIC

SETTLING = 5
"""Trials with values that settle the reference point; before that there is no volume."""
_MARGIN = 2.0


class FrontVolume:
    """Hypervolume of a growing set of completed trials.

    Errors and Fréchet distances count by their logarithm, everything else as it is; maximised objectives are negated.
    The reference point is twice the worst value of the first `SETTLING` trials in a logarithmic objective, and beyond
    the worst by their range in another. It is the caller's to keep, so that a study has one for ever. What lies beyond
    it may be on the front and still adds no volume.

    Args:
        directions: `minimize` or `maximize` by objective.
        reference: The study's reference point, minimised and on the logarithmic scale, where it has one.
    """

    def __init__(self, directions: Mapping[str, str], reference: Sequence[float] | None = None) -> None:
        self._directions = directions
        self.reference = None if reference is None else np.asarray(reference, dtype=np.float64)
        self._settling: list[np.ndarray] = []
        self._front = np.empty((0, len(directions)))
        self._volume = 0.0

    @property
    def value(self) -> float | None:
        """The volume; None while there is no reference point."""
        return None if self.reference is None else self._volume

    def add(self, values: Mapping[str, float], comparable: bool) -> bool:
        """Takes in a trial that ended with values.

        Args:
            values: Finite, by objective.
            comparable: It was trained to the end and may join the front.

        Returns:
            Whether it joined the front.
        """
        point = self._scaled(values)
        joins = comparable and not (self._front <= point).all(axis=1).any()
        if joins:
            kept = self._front[~(point <= self._front).all(axis=1)]
            self._front = np.vstack([kept, point])
        settles = False
        if self.reference is None:
            self._settling.append(point)
            settles = len(self._settling) == SETTLING
            if settles:
                self.reference = self._settle(np.array(self._settling))
        if self.reference is not None and (joins or settles):
            inside = self._front[(self._front < self.reference).all(axis=1)]
            self._volume = float(compute_hypervolume(inside, self.reference)) if len(inside) else 0.0
        return joins

    def _scaled(self, values: Mapping[str, float]) -> np.ndarray:
        scaled = []
        for name, direction in self._directions.items():
            value = math.log(max(values[name], 1e-12)) if name.endswith(LOGARITHMIC) else values[name]
            scaled.append(-value if direction == "maximize" else value)
        return np.array(scaled)

    def _settle(self, points: np.ndarray) -> np.ndarray:
        worst, best = points.max(axis=0), points.min(axis=0)
        logarithmic = np.array([name.endswith(LOGARITHMIC) for name in self._directions])
        beyond = np.where(worst > best, worst - best, 1.0)
        return worst + np.where(logarithmic, math.log(_MARGIN), beyond)
