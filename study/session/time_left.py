"""How long a study has still to run, by the epochs that its trials train."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from study.config import EXTRA_ORIGINS
from study.disk.following import FollowedTrial


class Trained(NamedTuple):
    """What a trial adds to the estimate.

    Attributes:
        planned: Epochs of its plan.
        epochs: Epochs that it has trained.
        ended: Whether it has ended, in whichever way.
        recent: Those of its epochs that this session has trained.
        since: When the first of these began, Unix seconds; infinite without one.
    """

    planned: int
    epochs: int
    ended: bool
    recent: int = 0
    since: float = math.inf


def trained(trials: Iterable[FollowedTrial], begun: float, *, extra: bool = False) -> list[Trained]:
    """What the trials of the search add to the estimate, or those beyond it.

    Args:
        trials: All trials of the study.
        begun: When this session began, or last went on after a pause, Unix seconds.
        extra: Whether the trials beyond the search are asked for.
    """
    found = []
    for trial in trials:
        if (trial.content.get("origin") in EXTRA_ORIGINS) != extra:
            continue
        recent, since = trial.since(begun)
        epochs = max(trial.epochs, default=0)
        found.append(Trained(trial.planned, epochs, trial.outcome is not None, recent, since))
    return found


def seconds_left(
    trials: Sequence[Trained], wanted: int, now: float, until_deadline: float | None = None
) -> float | None:
    """Estimates the time left as if epochs went on being trained as fast as in this session.

    The rate counts from the session's first epoch, so it knows how many trials run side by side, but not of what comes
    before it. Still to train are

    - for a trial that has not begun: the mean of the trials that ended, stopped and failed ones too; the mean plan
      before any has ended;
    - for a running trial: what is missing to the mean of those that ended later than where it is now; to its own plan
      if none did.

    Args:
        trials: Those that have begun.
        wanted: Trials there are to be.
        now: Unix seconds.
        until_deadline: Seconds until no trial begins any more; None for no limit. Running trials then go on to their
            end.

    Returns:
        Seconds, at least 0; None before the first epoch of this session.
    """
    recent = sum(trial.recent for trial in trials)
    elapsed = now - min((trial.since for trial in trials), default=math.inf)
    if not recent or elapsed <= 0:
        return None
    ended = [trial.epochs for trial in trials if trial.ended]
    running = [trial for trial in trials if not trial.ended]
    waiting = max(0, wanted - len(ended) - len(running))
    missing = []
    for trial in running:
        later = [epochs for epochs in ended if epochs > trial.epochs]
        missing.append(max(0.0, _mean(later or [trial.planned]) - trial.epochs))
    all_missing = sum(missing) + waiting * _mean(ended or [trial.planned for trial in trials])
    left = all_missing * elapsed / recent
    if until_deadline is None:
        return left
    # Trials side by side share the rate.
    last_running = max(missing, default=0.0) * len(running) * elapsed / recent
    return min(left, max(until_deadline, last_running))


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)
