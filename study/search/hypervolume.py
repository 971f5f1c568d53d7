"""The hypervolume of a growing front: the volume that it dominates, up to a point fixed once per study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from study.measure.metrics import is_logarithmic
from study.results import pareto

SETTLING = 5
"""Trials with values that settle the reference point; before that there is no volume."""
_MARGIN = 2.0


class FrontVolume:
    """Hypervolume of a growing set of completed trials.

    Metrics that say so (`Metric.logarithmic`) count by their logarithm, all others as they are; maximised objectives
    are negated. The first `SETTLING` trials settle the reference point: twice their worst value in a logarithmic
    objective, and their worst value plus their range in any other. The caller stores it, so that a study keeps it for
    ever. A trial beyond it may be on the front and still adds no volume.

    Args:
        directions: `minimize` or `maximize` by objective.
        reference: The study's reference point, minimised and on the logarithmic scale, if it has one.
    """

    def __init__(self, directions: Mapping[str, str], reference: Sequence[float] | None = None) -> None:
        self._directions = directions
        self._logarithmic = np.array([is_logarithmic(name) for name in directions])
        self.reference = None if reference is None else np.asarray(reference, dtype=np.float64)
        self._settling: list[np.ndarray] = []
        self._front = np.empty((0, len(directions)))
        self._volume = 0.0

    @property
    def value(self) -> float | None:
        """The volume; None until there is a reference point."""
        return None if self.reference is None else self._volume

    def add(self, values: Mapping[str, float], may_join: bool) -> bool:
        """Takes in a trial that ended with values.

        Args:
            values: Finite, by objective.
            may_join: The trial may join the front; if not, it still helps to settle the reference point.

        Returns:
            Whether it joined the front. A trial equal to one on the front does not.
        """
        signed = pareto.minimised(np.array([values[name] for name in self._directions]), self._directions.values())
        point = pareto.log_scaled(signed, self._logarithmic)
        front = self._front
        joins = may_join and not (pareto.dominates(front, point) | (front == point).all(axis=1)).any()
        if joins:
            self._front = np.vstack([front[~pareto.dominates(point, front)], point])
        settles = False
        if self.reference is None:
            self._settling.append(point)
            settles = len(self._settling) == SETTLING
            if settles:
                self.reference = self._settle(np.array(self._settling))
        if self.reference is not None and (joins or settles):
            self._volume = pareto.hypervolume(self._front, self.reference)
        return joins

    def _settle(self, points: np.ndarray) -> np.ndarray:
        worst, best = points.max(axis=0), points.min(axis=0)
        beyond = np.where(worst > best, worst - best, 1.0)
        return worst + np.where(self._logarithmic, math.log(_MARGIN), beyond)
