"""Steers a study from outside its driver: checks what is asked for, and records it in the ledger."""

from __future__ import annotations

import contextlib
import dataclasses
import operator
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import TrialState

from study.changes import AUTO, DEFAULT, MAX_CONCURRENT, PAUSE, RANGE, RESUME, STOP_TRIAL, Change, InForce, in_force
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
        max_concurrent: Most trials at once, `auto` or `default`.
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
    """Checks all of what is asked for, then records one change after the other.

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
        if wishes != Wishes():
            _check_same_machine(study, directory)
        state = _state(study, recorded_changes(study))
        wanted = _checked(wishes, state, study, record, directory)
        recorded = [record_change(study, *change) for change in wanted]
        changes = recorded_changes(study)
        state = _state(study, changes)
    except UserError:
        raise
    except Exception as error:
        if (why := lost_database(error)) is not None:
            raise UserError(f"the ledger's database: {why}: try again") from error
        raise
    driver = living_driver(directory, time.time())
    if recorded:
        _mirror(directory, changes)
    return Steered(state, changes, recorded, driver is not None)


def _check_same_machine(study: optuna.Study, directory: Path) -> None:
    """SQLite must not write one file from two machines.

    Raises:
        UserError: The driver is on another machine, and the ledger is a file.
    """
    driver = living_driver(directory, time.time())
    backend = getattr(study._storage, "_backend", study._storage)
    is_file = isinstance(backend, optuna.storages.RDBStorage) and backend.engine.name == "sqlite"
    if driver is not None and driver.host != socket.gethostname() and is_file:
        raise UserError(
            f"study {directory.name!r} runs on {driver.host} and its ledger is a file, which only that machine may "
            "write: steer it there, or begin studies with --storage postgresql://..."
        )


def _state(study: optuna.Study, changes: Sequence[Change]) -> InForce:
    """What is in force, without the ends of trials that have ended."""
    state = in_force(changes)
    if not state.stopped:
        return state
    trials = study.get_trials(deepcopy=False)
    going = {number for number in state.stopped if number >= len(trials) or not _has_ended(trials[number])}
    return dataclasses.replace(state, stopped=frozenset(going))


def _has_ended(trial: optuna.trial.FrozenTrial) -> bool:
    return trial.state.is_finished() or Ending.of(trial.user_attrs) is not None


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
        known = DEFAULT if state.max_concurrent is None else state.max_concurrent
        wanted += [(MAX_CONCURRENT, value, None)] if value != known else []
    if wishes.pause and wishes.resume:
        raise UserError("--pause and --resume: give one of the two")
    if wishes.pause and not state.paused:
        wanted.append((PAUSE, None, None))
    if wishes.resume and state.paused:
        wanted.append((RESUME, None, None))
    for number in dict.fromkeys(_checked_trial(study, number) for number in wishes.stop_trials):
        wanted += [(STOP_TRIAL, number, None)] if number not in state.stopped else []
    ranges = _checked_ranges(wishes.ranges, study, record, directory)
    return wanted + [(RANGE, value, name) for name, value in ranges.items() if state.ranges.get(name) != value]


def _concurrency(value: Any) -> int | str:
    allowed = RANGES["max_concurrent"]
    if value in (AUTO, DEFAULT):
        return value
    number = _whole(value)
    if number is None or not allowed.holds(number):
        raise UserError(f"--max-concurrent {value}: it must be {AUTO}, {DEFAULT} or a whole number {allowed}")
    return number


def _whole(value: Any) -> int | None:
    """A whole number of any library; None for anything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _checked_trial(study: optuna.Study, asked: Any) -> int:
    trials = study.get_trials(deepcopy=False)
    number = _whole(asked)
    if number is None or not 0 <= number < len(trials):
        has = f"0 to {len(trials) - 1}" if trials else "none"
        raise UserError(f"--stop-trial {asked}: there is no such trial, the study has {has}")
    trial = trials[number]
    if trial.state == TrialState.WAITING:
        raise UserError(f"--stop-trial {number}: the trial has not begun")
    if _has_ended(trial):
        raise UserError(f"--stop-trial {number}: the trial has ended")
    return number


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
        return loaded if loaded.is_same(record.space_hash, record.data) else None
    return None


def _mirror(directory: Path, changes: list[Change]) -> None:
    """Writes the changes into `study.json`, unless a driver is at work, which does it itself."""
    with contextlib.suppress(OSError), undriven(directory) as is_free:
        record = study_json.read_study(directory) if is_free else None
        if record is not None:
            study_json.write_study(directory, record.replace(changes=tuple(changes)))
