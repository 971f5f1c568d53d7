"""Early stopping on Ray: at each rung, `study.search.rungs` decides whether a trial continues.

The ledger records every result at a rung with its decision before Ray acts on it. A resumed study rebuilds the rungs
from there, so they equal those of an uninterrupted study. A trial that was resumed from its checkpoint at a rung
reports that rung again and gets the same decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.search.ledger import Ledger
from study.search.rungs import Rungs, rung_epochs
from study.search.trial_record import RECONSTRUCTION, RungResult
from study.tuning.leaving import LEAVING
from study.tuning.searcher import LedgerSearcher

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

SCHEDULERS = ("asha", "none")


class RungScheduler(FIFOScheduler):
    """Multi-objective asynchronous successive halving. It stops a trial at once if an objective is not finite.

    A trial that a person has stopped ends at its next report. That is no decision of a rung, and none is recorded.
    A trial whose node is about to leave may fail once more: if Ray misses the trial's process before the node, it
    counts the loss as the trial's failure, and which comes first is chance.

    Args:
        ledger: The study's ledger.
        searcher: Knows the trial of the ledger behind each Ray trial.
        eta: One trial in eta continues at each rung; None stops only trials with objectives that are not finite.
        is_blind: Whether a reconstruction error does not beat the mean image.
    """

    def __init__(
        self,
        ledger: Ledger,
        searcher: LedgerSearcher,
        eta: float | None,
        is_blind: Callable[[float], bool] = lambda error: False,
    ) -> None:
        super().__init__()
        self._ledger = ledger
        self._searcher = searcher
        self._eta = eta
        self._is_blind = is_blind
        self.rungs = Rungs(list(ledger.directions.values()), eta or math.inf)
        self._decided: dict[tuple[int, int], bool] = {}
        for result in ledger.rung_results():
            self.rungs.restore(result.epoch, result.values, is_blind=result.is_blind)
            self._decided[result.number, result.epoch] = result.goes_on

    @property
    def stops_early(self) -> bool:
        """Whether trials may stop at rungs."""
        return self._eta is not None

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Answers Ray after every report: CONTINUE or STOP."""
        if LEAVING in result:
            trial.max_failures += 1
        epoch = result.get("epoch")
        if epoch is None:  # the trial leaves, or reports a failure and ends by itself
            return TrialScheduler.CONTINUE
        values = [float(result.get(name, math.nan)) for name in self._ledger.objectives]
        if not all(map(math.isfinite, values)):
            return TrialScheduler.STOP
        try:
            goes_on = not self._searcher.is_stopped(trial.trial_id) and self._goes_on(trial.trial_id, result, values)
        except Exception as error:  # as in LedgerSearcher.suggest; the trial is interrupted, not stopped
            self._searcher.error = self._searcher.error or error
            goes_on = True
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def _goes_on(self, trial_id: str, result: dict[str, Any], values: list[float]) -> bool:
        assignment = self._searcher.assignment(trial_id)
        number, origin, epoch = assignment.number, assignment.origin, result["epoch"]
        if self._eta is None or origin.is_extra or epoch not in rung_epochs(assignment.config.epochs):
            return True
        if (number, epoch) not in self._decided:
            is_blind = self._is_blind(result.get(RECONSTRUCTION, 0.0))
            goes_on = self.rungs.decide(epoch, values, is_blind=is_blind) or origin.is_fixed
            self._ledger.record_rung(RungResult(number, epoch, values, goes_on, is_blind))
            self._decided[number, epoch] = goes_on
        return self._decided[number, epoch]

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as LedgerSearcher's
