"""Steers a study from outside its driver: checks what is asked for, and records it in the ledger."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import TrialState

from study.changes import AUTO, MAX_CONCURRENT, PAUSE, RANGE, RESUME, STOP_TRIAL, Change, InForce, in_force
from study.disk import study_json
from study.disk.layout import find_study
from study.disk.lock import living_driver, undriven
from study.disk.study_json import StudyRecord
from study.errors import UserError
from study.ranges import RANGES
from study.search.asked_ranges import Asked, check_range, recorded_parameters, searched_parameters
from study.search.control import record_change, recorded_changes
from study.search.storage import ledger_study, lost_database
from study.search.trial_record import Ending
from study.session.resuming import recorded_space
from study.space import LoadedSpace, load_space


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a user asks for.

    Attributes:
        max_concurrent: Most trials at once, or `auto`.
        pause: Let no trial run.
        resume: End the pause.
        stop_trials: Trials to end.
        ranges: What suggestions are to lie in, by parameter.
    """

    max_concurrent: int | str | None = None
    pause: bool = False
    resume: bool = False
    stop_trials: tuple[int, ...] = ()
    ranges: Mapping[str, Asked] = dataclasses.field(default_factory=dict)


class Steered(NamedTuple):
    """A study's changes.

    Attributes:
        in_force: What they amount to.
        changes: All of them, in their order.
        recorded: Those that were recorded just now; what is in force already is not recorded again.
        is_running: Whether a driver runs the study, which takes them up within about a second.
    """

    in_force: InForce
    changes: list[Change]
    recorded: list[Change]
    is_running: bool


def steer(runs: Path, name: str, wishes: Wishes, storage: str | None = None) -> Steered:
    """Records what is asked for, all of it or nothing.

    Args:
        runs: The folder of all studies.
        name: The study.
        wishes: What is asked for; nothing of it only reads.
        storage: The database of the ledger, if the study's record cannot tell its password.

    Raises:
        UserError: There is no such study, it has no ledger yet, or something cannot be.
    """
    directory = find_study(runs, name)
    record = study_json.read_study(directory)
    assert record is not None  # find_study has seen it
    try:
        study = ledger_study(directory, record, storage, moved=storage)
        if study is None:
            raise UserError(f"study {name!r} has no ledger yet: wait until its first trial has begun")
        state = in_force(recorded_changes(study))
        wanted = _checked(wishes, state, study, record, directory)
        recorded = [record_change(study, *change) for change in wanted]
        changes = recorded_changes(study)
    except UserError:
        raise
    except Exception as error:
        if (why := lost_database(error)) is not None:
            raise UserError(f"the ledger's database: {why}: try again") from error
        raise
    driver = living_driver(directory, time.time())
    if recorded and driver is None:
        _mirror(directory, changes)
    return Steered(in_force(changes), changes, recorded, driver is not None)


def _checked(
    wishes: Wishes, state: InForce, study: optuna.Study, record: StudyRecord, directory: Path
) -> list[tuple[str, Any, str | None]]:
    """What is to be recorded: kind, value and parameter of each change.

    Raises:
        UserError: Something cannot be.
    """
    wanted: list[tuple[str, Any, str | None]] = []
    if wishes.max_concurrent is not None:
        value = _concurrency(wishes.max_concurrent)
        wanted += [(MAX_CONCURRENT, value, None)] if value != state.max_concurrent else []
    if wishes.pause and wishes.resume:
        raise UserError("--pause and --resume: give one of the two")
    if wishes.pause and not state.paused:
        wanted.append((PAUSE, None, None))
    if wishes.resume and state.paused:
        wanted.append((RESUME, None, None))
    for number in dict.fromkeys(wishes.stop_trials):
        _check_runs(study, number)
        wanted += [(STOP_TRIAL, number, None)] if number not in state.stopped else []
    ranges = _checked_ranges(wishes.ranges, study, record, directory)
    return wanted + [(RANGE, value, name) for name, value in ranges.items() if state.ranges.get(name) != value]


def _concurrency(value: Any) -> int | str:
    allowed = RANGES["max_concurrent"]
    if value == AUTO:
        return AUTO
    if isinstance(value, bool) or not isinstance(value, int) or not allowed.holds(value):
        raise UserError(f"--max-concurrent {value}: it must be {AUTO}, or a whole number {allowed}")
    return value


def _check_runs(study: optuna.Study, number: Any) -> None:
    trials = study.get_trials(deepcopy=False)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(trials):
        has = f"0 to {len(trials) - 1}" if trials else "none"
        raise UserError(f"--stop-trial {number}: there is no such trial, the study has {has}")
    trial = trials[number]
    if trial.state == TrialState.WAITING:
        raise UserError(f"--stop-trial {number}: the trial has not begun")
    if trial.state.is_finished() or Ending.of(trial.user_attrs) is not None:
        raise UserError(f"--stop-trial {number}: the trial has ended")


def _checked_ranges(
    asked: Mapping[str, Asked], study: optuna.Study, record: StudyRecord, directory: Path
) -> dict[str, dict[str, Any] | None]:
    if not asked:
        return {}
    if record.grid:
        raise UserError(f"--range: study {record.name!r} is a grid, which defines the values of all its trials")
    if record.epochs is not None and "epochs" in asked:
        raise UserError(
            f"--range epochs: the study was begun with --epochs {record.epochs}, which sets it for all trials"
        )
    loaded = _space(record, directory)
    if loaded is None:  # of a script or notebook
        kinds = recorded_parameters(study.get_trials(deepcopy=False))
    else:
        kinds = searched_parameters(loaded.space, record.data)
    if not kinds:
        raise UserError(f"--range: study {record.name!r} has searched no parameter yet")
    return {name: check_range(name, wanted, kinds) for name, wanted in asked.items()}


def _space(record: StudyRecord, directory: Path) -> LoadedSpace | None:
    """The study's space; None if its file is not at hand as it was."""
    with contextlib.suppress(UserError, OSError):
        loaded = load_space(recorded_space(record, directory))
        return loaded if loaded.is_same(record.space_hash) else None
    return None


def _mirror(directory: Path, changes: list[Change]) -> None:
    """Writes the changes into `study.json`, as the driver would. If one begins just now, it does."""
    with contextlib.suppress(OSError), undriven(directory) as is_free:
        record = study_json.read_study(directory) if is_free else None
        if record is not None:
            study_json.write_study(directory, record.replace(changes=tuple(changes)))
