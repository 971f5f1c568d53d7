"""How long a study has still to run."""

from __future__ import annotations


def seconds_left(ended: int, elapsed: float, missing: int, until_deadline: float | None = None) -> float | None:
    """Estimates the time left as if trials went on ending as they did so far.

    Args:
        ended: Trials that ended in this session.
        elapsed: Seconds this session has run.
        missing: Trials that have still to end.
        until_deadline: Seconds until no trial begins any more; None for no limit.

    Returns:
        Seconds, at least 0; None before the first trial has ended.
    """
    if ended < 1:
        return None
    left = elapsed / ended * max(0, missing)
    return left if until_deadline is None else max(0.0, min(left, until_deadline))
