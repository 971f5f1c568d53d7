"""What Ray calls in a trial's process. It is the first of ours that is imported there, and sees to the rest."""

from __future__ import annotations

from typing import Any

from study.tuning.imports import quick_imports

with quick_imports():
    import sklearn.mixture  # noqa: F401  # a trial's last measurements want it; here it comes quicker

    from study.tuning import trainable


def run_trial(config: dict[str, Any], **shared: Any) -> None:
    """Trains one trial in this process; arguments as of `trainable.run_trial`."""
    trainable.run_trial(config, **shared)
