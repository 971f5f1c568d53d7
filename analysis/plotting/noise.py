"""How far the values of a study's metrics would change in other feature networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from study.measure.metrics import is_logarithmic, metric_name
from study.results.frame import StudyFrames
from study.results.recommendation import score_noise

_USUAL = "classes"


def network_noise(frames: StudyFrames, names: Sequence[str]) -> np.ndarray:
    """Relative standard deviation of metrics [k] between seeds of the feature networks and draws of codes.

    It is 0 for all but the Fréchet distances of samples, which are compared in such a network.

    Args:
        frames: The study.
        names: Columns of metrics.
    """
    return np.array([_noise(frames, name) for name in names])


def _noise(frames: StudyFrames, name: str) -> float:
    metric = metric_name(name)
    if not metric.endswith("_fid") or not is_logarithmic(name):
        return 0.0
    which = "second_instrument" if "second_" in metric else "instrument"
    found = frames.study.evaluation.get(which) or {}
    return score_noise(found.get("name", _USUAL), frames.study.data.channels)
