"""What Ray calls in a trial's process. It is imported first there, and imports the rest quickly."""

from __future__ import annotations

from typing import Any

from study.tuning.imports import quick_imports

with quick_imports():
    import sklearn.mixture  # noqa: F401  # the final evaluation needs it, and here it is imported quicker

    from study.tuning import trainable


def run_trial(config: dict[str, Any], **shared: Any) -> None:
    """Trains one trial in this process, see `trainable.run_trial`."""
    trainable.run_trial(config, **shared)
