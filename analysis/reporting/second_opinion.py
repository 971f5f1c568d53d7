"""Whether a second feature network, of another family, gives the same answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.stats

from analysis.plotting import naming
from study.results.choice import Choice, choose
from study.results.frame import StudyFrames

SECOND = {"val/sample_fid": "val/second_fid", "val/fitted_fid": "val/fitted_second_fid"}
"""Score of the first network -> that of the second."""
FEWEST = 4
"""Fewer trials have no order to speak of."""
CLOSE, LOOSE = 0.9, 0.6
"""Rank correlations from which two networks agree, or agree in part."""


class SecondOpinion(NamedTuple):
    """What the second network says of the trials that both measured.

    Attributes:
        trials: How many they are.
        correlation: Spearman's rank correlation of the two scores.
        front: Trials on the front under the first network, as far as the second measured them.
        kept: How many of them are on the front under the second.
        recommended: The row that the second recommends.
    """

    trials: int
    correlation: float
    front: int
    kept: int
    recommended: int


def info(frames: StudyFrames, choice: Choice) -> SecondOpinion | None:
    """Judges the trials by the second network; None if no objective has one, or hardly any trial has both."""
    score = next((name for name in frames.objectives if name in SECOND), None)
    if score is None:
        return None
    other = choose(frames, tuple(SECOND.get(name, name) for name in frames.objectives))
    both = choice.eligible & other.eligible
    if both.sum() < FEWEST or other.recommended is None:
        return None
    ranks = [scipy.stats.rankdata(frames.column(name)[both]) for name in (score, SECOND[score])]
    front = [row for row in choice.front if both[row]]
    return SecondOpinion(
        int(both.sum()),
        float(np.corrcoef(ranks[0], ranks[1])[0, 1]),
        len(front),
        len(np.intersect1d(front, other.front)),
        other.recommended,
    )


def sentences(frames: StudyFrames, choice: Choice) -> list[str]:
    """What the second network says, in words; none if there is nothing to say."""
    found = info(frames, choice)
    if found is None:
        return []
    agrees = found.correlation >= CLOSE
    order = "agrees" if agrees else "agrees in part" if found.correlation >= LOOSE else "disagrees"
    text = (
        f"A second feature network {order} on the order of the {found.trials} trials that both measured (rank "
        f"correlation {naming.number(found.correlation)}), keeps {found.kept} of the front's {found.front}, and "
    )
    if found.recommended == choice.recommended:
        return [f"{text}recommends the same trial."]
    label = frames.labels()[found.recommended]
    return [f"{text}recommends trial {label} instead: so the choice between the two hangs on the feature network."]
