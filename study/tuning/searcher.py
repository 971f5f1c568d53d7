"""The bridge from Ray Tune to the ledger: Ray asks for the next trial here and says here how each one ended."""

from __future__ import annotations

import time
from typing import Any

from ray.tune.search import Searcher

from study.tuning.ledger import Assignment, Ledger, trial_directory
from study.tuning.trainable import last_error


class LedgerSearcher(Searcher):
    """A Ray searcher that keeps no state of its own.

    Args:
        ledger: The study's ledger.
        num_trials: Trials the study is to have.
        deadline: Seconds since the epoch after which no new trial begins; None for no limit.
        patience: No new trial begins when the hypervolume has not grown for so many; None for no limit.
    """

    def __init__(
        self, ledger: Ledger, num_trials: int, *, deadline: float | None = None, patience: int | None = None
    ) -> None:
        super().__init__()
        self._ledger = ledger
        self._num_trials = num_trials
        self._deadline = deadline
        self._patience = patience
        self._running: dict[str, Assignment] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The parameters of the next trial, or FINISHED."""
        if self._deadline is not None and time.time() >= self._deadline:
            return Searcher.FINISHED
        settled = self._patience is not None and self._ledger.stale_trials >= self._patience
        assignment = self._ledger.next(0 if settled else self._num_trials)
        if assignment is None:
            return Searcher.FINISHED
        self._running[trial_id] = assignment
        return {
            "directory": str(trial_directory(self._ledger.directory, assignment.number)),
            "params": assignment.config.to_params(),
        }

    def assignment(self, trial_id: str) -> Assignment:
        """What a running trial is."""
        return self._running[trial_id]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Records how a trial ended. A trial without a result and without an error was cut off: it stays running."""
        assignment = self._running.pop(trial_id)
        number, config = assignment.number, assignment.config
        result = result or {}
        epochs = result.get("epoch", 0)
        if error:
            reason = last_error(trial_directory(self._ledger.directory, number))
            self._ledger.record(number, "failed", epochs=epochs, reason=reason)
        elif result.get("failure"):
            self._ledger.record(number, "failed", epochs=epochs, reason=result["failure"])
        elif epochs:
            missing = 1 - epochs / config.epochs
            self._ledger.record(
                number,
                "stopped" if missing else "completed",
                epochs=epochs,
                values={name: result[name] for name in self._ledger.objectives},
                # One still on its ramp when it was stopped has missed its budget, not the point of its schedule.
                infeasible={"budget": missing, "weight": 0.0 if missing else 1 - result["multiplier"]},
                reason=f"stopped after {epochs} of {config.epochs} epochs" if missing else None,
            )

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its searcher for Tuner.restore, which is never used: the ledger holds everything

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger holds it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the ledger holds it."""
