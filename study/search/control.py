"""Changes of a study as records in its ledger: how one is written, and what its driver makes of them."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna

from study.changes import KINDS, RANGE, Change, InForce, in_force
from study.errors import UserError
from study.search.narrowing import Narrowing, SteeredSampler, SteeredTrial
from study.search.samplers import SearchedStudy
from study.search.storage import looking

_RECORD = "control:"
_FIELDS = [field.name for field in dataclasses.fields(Change)]


def recorded_changes(study: optuna.Study) -> list[Change]:
    """All changes of a study, in their order. What only a later version knows is left out: kinds, and further fields.

    Raises:
        UserError: A record is damaged.
    """
    found = {key: value for key, value in study.user_attrs.items() if key.startswith(_RECORD)}
    changes = (_parsed(key, found[key]) for key in sorted(found))
    return [change for change in changes if change is not None]


def _parsed(key: str, value: Any) -> Change | None:
    try:
        if value["what"] not in KINDS:
            return None
        return Change(**{name: value[name] for name in _FIELDS if name in value})
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"the ledger's record {key!r} is damaged or of a later version ({error}): "
            "use the version that wrote it, or see what study.doctor says"
        ) from None


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
        return self._take_up(self.read())

    def read(self) -> list[Change]:
        """All changes on record, without taking them up."""
        return recorded_changes(self._looked_at)

    def _take_up(self, changes: list[Change]) -> list[Change]:
        before = {change.id for change in self.changes}
        new = [change for change in changes if change.id not in before]
        state = in_force(changes) if new else self.state
        if any(change.what == RANGE for change in new):
            self._study.narrowing = Narrowing(state.ranges)
            self._set_sampler()
        self.changes, self.state = changes, state  # last: after an error the next look takes them up
        return new

    def steered(self, trial: optuna.trial.Trial) -> Any:
        """The trial as a space is to ask it for parameters."""
        return trial if self._study.narrowing is None else SteeredTrial(trial, self._study.narrowing)

    def _set_sampler(self) -> None:
        """A new one with each change of a range: samplers keep what they once found the space to be."""
        drawn = sum(1 + len(trial.params) for trial in self._study.get_trials(deepcopy=False))
        sampler, narrowing = self._build(drawn), self._study.narrowing
        self._study.sampler = sampler if narrowing is None else SteeredSampler(sampler, narrowing)
