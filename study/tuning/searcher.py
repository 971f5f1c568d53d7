"""Connects Ray Tune to the ledger: Ray asks here for the next trial, and reports here how each trial ended."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from study.changes import Change, InForce
from study.disk.epochs import recorded_epochs
from study.disk.layout import attempt_process, last_error, stop_path, trial_path
from study.search.ledger import Assignment, Ledger
from study.search.storage import lost_database
from study.search.trial_record import BY_HAND
from study.tuning.interrupts import Interrupts

ALL_FAILED_AFTER = 4
"""If so many trials fail and none succeeds, the study ends, since the others would fail as well."""
LOST_SECONDS = 5.0
"""After a look that the ledger's database did not answer, none is tried for so long: each may take seconds."""


class LedgerSearcher(Searcher):
    """A Ray searcher that keeps no state of its own.

    Args:
        ledger: The study's ledger.
        num_trials: Trials the study is to have.
        deadline: Unix seconds after which no trial begins; None for no limit.
        patience: If the front has not grown for so many trials, no new trial of the search begins; None for no limit.
        interrupts: What signals have asked for.

    Attributes:
        error: The first error in this process. After it no trial is handed out or waited for.
        disk_error: What a trial could not write, in one line. The trial is left for a later session.
        limit: The option that kept the next trial from beginning; None if there was no next trial.
        pausing: The study was found paused, and the running trials are to be cut off.
        lost: Why the ledger's database did not answer the last look; None if it did.
    """

    def __init__(
        self,
        ledger: Ledger,
        num_trials: int,
        *,
        deadline: float | None = None,
        patience: int | None = None,
        interrupts: Interrupts | None = None,
    ) -> None:
        super().__init__()
        self._interrupts = interrupts or Interrupts()
        self._failures = 0
        self._kills: dict[int, int] = {}
        self.error: Exception | None = None
        self.disk_error: str | None = None
        self.limit: str | None = None
        self.pausing = False
        self.lost: str | None = None
        self._look_after = -math.inf
        self._news: list[Change] = []
        self._ledger = ledger
        self._num_trials = num_trials
        self._deadline = deadline
        self._patience = patience
        self._running: dict[str, Assignment] = {}

    @property
    def all_failed(self) -> bool:
        """Whether every trial fails."""
        tally = self._ledger.tally
        return self._failures >= ALL_FAILED_AFTER and tally.completed + tally.stopped == 0

    @property
    def finishing(self) -> bool:
        """Whether no other trial is to begin."""
        return self._interrupts.finishing or self.all_failed or self.stopping or self.disk_error is not None

    @property
    def stopping(self) -> bool:
        """Whether to end without waiting for running trials."""
        return self._interrupts.now or self.error is not None

    @property
    def late(self) -> bool:
        """Whether the time budget is spent."""
        return self._deadline is not None and time.time() >= self._deadline

    @property
    def ends_early(self) -> bool:
        """Whether nothing is to begin in this session, not even a trial beyond the search."""
        return self.finishing or self.limit == "--time-budget"

    @property
    def changes(self) -> list[Change]:
        """All changes of the study, as of the last look."""
        return self._ledger.control.changes

    @property
    def changed(self) -> InForce:
        """What was changed since the study began, as of the last look."""
        return self._ledger.control.state

    def look(self) -> None:
        """Looks for changes of the study, and passes on those that running trials must know.

        If the database does not answer, what was known stays in force: only what must be written can end the study.
        """
        if time.monotonic() < self._look_after:
            return
        try:
            self._news += self._ledger.control.look()
            self.lost = None
            self.pausing = self.pausing or self.changed.paused
            for assignment in self._running.values():
                self._mark(assignment)
        except Exception as error:  # as in suggest
            self.lost = lost_database(error)
            if self.lost is None:
                self.error = self.error or error
            self._look_after = time.monotonic() + LOST_SECONDS

    def news(self) -> list[Change]:
        """The changes that were seen since this was last asked."""
        news, self._news = self._news, []
        return news

    def goes_on(self) -> bool | None:
        """Whether the study, paused or not, goes on now; None if it is to wait.

        It does not if it was paused when nothing was left to do, if no other trial is to begin, or if the time budget
        is spent: then the trials that were cut off are left for a later session.
        """
        self.look()
        self.pausing = self.changed.paused  # whatever ran has been cut off
        if not self.pausing:
            return True
        if self.finishing:
            return False
        if not self._has_work():
            self.limit = "--patience" if self._ledger.remain(self._num_trials) else None
            return False
        if self.late:
            self.limit = "--time-budget"
            return False
        return None

    def _has_work(self) -> bool:
        try:
            return bool(self._ledger.unfinished or self._ledger.remain(self._wanted))
        except Exception as error:
            if lost_database(error) is None:
                raise
            return True  # the wait goes on, and asks again

    @property
    def _wanted(self) -> int:
        """Trials that the study is to have: no further one of the search once `patience` is spent."""
        is_settled = self._patience is not None and self._ledger.stale_trials >= self._patience
        return 0 if is_settled else self._num_trials

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The parameters of the next trial, or FINISHED."""
        if self.finishing:
            return Searcher.FINISHED
        try:
            return self._next(trial_id)
        except Exception as error:  # Ray would turn it into text; `execute` raises it unchanged
            self.error = self.error or error
            return Searcher.FINISHED

    def _next(self, trial_id: str) -> dict[str, Any] | str:
        self.look()
        if self.pausing or self.error is not None:
            return Searcher.FINISHED
        late = self.late
        assignment = self._ledger.next(self._wanted, begin=not late)
        if assignment is None:
            limit = "--time-budget" if late else "--patience"
            self.limit = limit if self._ledger.remain(self._num_trials) else None
            return Searcher.FINISHED
        self._running[trial_id] = assignment
        self._mark(assignment)
        return {
            "directory": str(trial_path(self._ledger.directory, assignment.number)),
            "params": assignment.config.to_params(),
        }

    @property
    def directory(self) -> Path:
        """The study's folder."""
        return self._ledger.directory

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the study trades off, by recorded name."""
        return self._ledger.objectives

    def is_stopped(self, trial_id: str) -> bool:
        """Whether a running Ray trial is to end because a person said so."""
        return self._running[trial_id].number in self.changed.stopped

    def assignment(self, trial_id: str) -> Assignment:
        """The ledger's trial behind a running Ray trial."""
        return self._running[trial_id]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Records how a trial ended. Without a result or error it was interrupted, and stays running in the ledger."""
        try:
            self._record(self._running.pop(trial_id), result or {}, error)
        except Exception as caught:  # as in suggest
            self.error = self.error or caught

    def _record(self, assignment: Assignment, result: dict[str, Any], error: bool) -> None:
        number, config = assignment.number, assignment.config
        self._failures += error or "failure" in result
        epochs = result.get("epoch", 0)
        if result.get("disk_error"):
            self.disk_error = self.disk_error or result["disk_error"]
        elif error or result.get("failure"):
            directory = trial_path(self._ledger.directory, number)
            # The epochs on record were trained; the last report came from an evaluation before the failure.
            reason = last_error(directory) if error else result["failure"]
            self._ledger.record(number, "failed", epochs=recorded_epochs(directory), reason=reason)
        elif epochs:
            missing = 1 - epochs / config.epochs
            by_hand = BY_HAND if number in self.changed.stopped else ""
            self._ledger.record(
                number,
                "stopped" if missing else "completed",
                epochs=epochs,
                values={name: result[name] for name in self._ledger.objectives},
                # A trial stopped during its ramp misses its budget, not the end of its schedule.
                infeasible={"budget": missing, "weight": 0.0 if missing else 1 - result["multiplier"]},
                reason=f"stopped {by_hand}after {epochs} of {config.epochs} epochs" if missing else None,
            )

    def cut_off(self, killed: Callable[[int], bool], max_failures: int, reason: str) -> None:
        """Handles Ray's giving up while trials run: they are handed out again, or fail if they were killed too often.

        Args:
            killed: Whether the process of this id was killed. If no trial's process was, all count as killed.
            max_failures: How often a killed trial is handed out again.
            reason: What to record for a trial that is not.
        """
        numbers = [assignment.number for assignment in self._running.values()]
        directories = {n: trial_path(self._ledger.directory, n) for n in numbers}
        processes = {n: attempt_process(directory) for n, directory in directories.items()}
        victims = [n for n, process in processes.items() if process is not None and killed(process)] or numbers
        for number in victims:
            self._kills[number] = self._kills.get(number, 0) + 1
            if self._kills[number] > max_failures:
                self._failures += 1
                self._ledger.record(number, "failed", epochs=recorded_epochs(directories[number]), reason=reason)
        self.take_back()

    def take_back(self) -> None:
        """After Ray has ended its loop: the trials that it had not ended are handed out again."""
        self._running.clear()
        self._ledger.requeue_running()

    def _mark(self, assignment: Assignment) -> None:
        """Tells a trial's process that it is to end, if it is. Otherwise a trial would report too seldom to be told."""
        if assignment.number in self.changed.stopped:
            stop_path(trial_path(self._ledger.directory, assignment.number)).touch()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its searcher for Tuner.restore, which is never used: the ledger holds everything

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger holds it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the ledger holds it."""
