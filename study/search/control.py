"""Changes of a study as records in its ledger: how one is written, and what its driver makes of them."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna

from study.changes import KINDS, RANGE, Change, InForce, in_force
from study.search.narrowing import Narrowing, SteeredSampler, SteeredTrial
from study.search.samplers import SearchedStudy
from study.search.storage import looking

_RECORD = "control:"


def recorded_changes(study: optuna.Study) -> list[Change]:
    """All changes of a study, in their order. Records of kinds that only a later version knows are left out."""
    found = [(key, value) for key, value in study.user_attrs.items() if key.startswith(_RECORD)]
    return [Change(**value) for _, value in sorted(found) if value.get("what") in KINDS]


def record_change(study: optuna.Study, what: str, value: Any = None, parameter: str | None = None) -> Change:
    """Records a change under a key of its own: two writers at one moment do not overwrite each other.

    It comes after every change that is there, even if another machine's clock is ahead of this one's.
    """
    time = datetime.now(UTC)
    if earlier := recorded_changes(study):
        time = max(time, datetime.fromisoformat(earlier[-1].time) + timedelta(microseconds=1))
    stamp = time.isoformat(timespec="microseconds")
    change = Change(id=f"{stamp}:{uuid.uuid4().hex}", time=stamp, what=what, value=value, parameter=parameter)
    store_change(study, change)
    return change


def store_change(study: optuna.Study, change: Change) -> None:
    """Writes a change's record."""
    study.set_user_attr(f"{_RECORD}{change.id}", dataclasses.asdict(change))


class Control:
    """What the driver knows of its study's changes. It also sets the sampler, which obeys the ranges in force.

    Args:
        study: The Optuna study.
        build: Builds the sampler, given how much has been drawn so far (see `build_sampler`).

    Attributes:
        changes: All changes seen so far, in their order.
        state: What is in force.
    """

    def __init__(self, study: SearchedStudy, build: Callable[[int], optuna.samplers.BaseSampler]) -> None:
        self._study, self._build = study, build
        self._looked_at = looking(study)
        self.changes: list[Change] = []
        self.state = InForce()
        self._set_sampler()
        self._take_up(recorded_changes(study))

    def look(self) -> list[Change]:
        """Reads the records; returns the changes that are new.

        It waits for no database: an error leaves all as it was, and the next look makes up for it.
        """
        return self._take_up(recorded_changes(self._looked_at))

    def _take_up(self, changes: list[Change]) -> list[Change]:
        before = {change.id for change in self.changes}
        self.changes = changes
        new = [change for change in self.changes if change.id not in before]
        if new:
            self.state = in_force(self.changes)
        if any(change.what == RANGE for change in new):
            self._study.narrowing = Narrowing(self.state.ranges)
            self._set_sampler()
        return new

    def steered(self, trial: optuna.trial.Trial) -> Any:
        """The trial as a space is to ask it for parameters."""
        return trial if self._study.narrowing is None else SteeredTrial(trial, self._study.narrowing)

    def _set_sampler(self) -> None:
        """A new one with each change of a range: samplers keep what they once found the space to be."""
        drawn = sum(1 + len(trial.params) for trial in self._study.get_trials(deepcopy=False))
        sampler, narrowing = self._build(drawn), self._study.narrowing
        self._study.sampler = sampler if narrowing is None else SteeredSampler(sampler, narrowing)
