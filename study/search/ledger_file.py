"""The ledger in the study's own file: whether it is whole, and how it is rebuilt from the trials' folders."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import warnings
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from study.config import Origin, TrialConfig, UserError
from study.disk.epochs import Record, TrialRecords
from study.disk.files import SQLITE_COMPANIONS, disk_error_reason, read_json, set_aside_file
from study.disk.layout import OUTCOME, TRIAL, ledger_path, rebuild_command, trial_folders
from study.disk.study_json import StudyRecord
from study.results.pareto import WEIGHT_TOLERANCE
from study.search.control import store_change
from study.search.ledger import Ledger
from study.search.narrowing import own_range, widened
from study.search.rungs import rung_epochs
from study.search.storage import open_storage
from study.search.trial_record import BY_HAND, RECONSTRUCTION, Ending, RungResult, rung_attribute
from study.space import SearchSpace

_EXTRA = ("replicate_of", "retrain_of")


def check_ledger_file(directory: Path) -> None:
    """Refuses a ledger that is lost or damaged, or that does not know the trials that have folders.

    Args:
        directory: The study's folder.

    Raises:
        UserError: The study has trials and its ledger does not list them; the message gives the command that repairs
            it. Or a later version of Optuna wrote the file.
    """
    database = ledger_path(directory)
    folders = {number for number, trial in trial_folders(directory) if (trial / TRIAL).exists()}
    repair = f"rebuild it: {rebuild_command(directory)}"
    if not database.exists():
        if folders:
            raise UserError(f"{database} is missing, and the study has trials: {repair}")
        return
    try:
        # Not mode=ro: SQLite may have to roll back what a driver that died has half written.
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            complaints = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
            names = {row[0] for row in connection.execute("SELECT study_name FROM studies")}
            numbers = {row[0] for row in connection.execute("SELECT number FROM trials")}
    except sqlite3.Error as error:
        if disk_error_reason(error) or "locked" in str(error):
            return  # opening it for good tells what to do
        if not folders and "no such table" in str(error):
            return  # a driver died while it made the file
        raise UserError(f"{database} is damaged ({error}): {repair}") from None
    if complaints != ["ok"]:
        raise UserError(f"{database} is damaged ({complaints[0].splitlines()[0]}): {repair}")
    if names and directory.name not in names:
        raise UserError(f"{database} is of study {', '.join(sorted(names))}: give the folder its name back")
    if strange := sorted(folders - numbers):
        raise UserError(f"{database} does not list trials {strange[:5]}, which have folders: {repair}")
    try:
        open_storage(f"sqlite:///{database}").engine.dispose()
    except UserError as error:
        reason = str(error).partition(" cannot be used: ")[2] or str(error)
        raise UserError(f"{database} cannot be used: {reason}") from None


def rebuild(directory: Path, record: StudyRecord, space: SearchSpace) -> tuple[int, Path | None]:
    """Writes the ledger again from the trials' folders; the old file is kept beside the new one.

    Trials that had not ended are listed as running, so a resumed study takes them up. The search space is asked which
    of a trial's parameters it searches.

    Args:
        directory: The study's folder; no driver may be at work.
        record: The study's record.
        space: Its search space, as it was.

    Returns:
        The number of trials, and where the old file is, if there was one.

    Raises:
        UserError: There are folders of trials, but none says what its trial was.
    """
    folders = dict(trial_folders(directory))
    known = {number: found for number, trial in folders.items() if (found := _described(trial, space)) is not None}
    if folders and not known:
        raise UserError(f"no folder in {directory} says what its trial was, so the ledger cannot be rebuilt from them")
    new = ledger_path(directory).with_suffix(".new")
    new.unlink(missing_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(f"sqlite:///{new}")
    directions = list(record.objectives.values())
    study = optuna.create_study(study_name=directory.name, storage=storage, directions=directions)
    rungs = itertools.count()
    for change in record.changes:
        store_change(study, change)
    last = max((number for number, trial in folders.items() if (trial / TRIAL).exists()), default=-1)
    for number in range(last + 1):
        study.add_trial(_trial(folders[number], known[number], record, space, rungs) if number in known else _LOST)
    ledger = Ledger(
        directory,
        space,
        record.data,
        directions=record.objectives,
        set_values={},
        seed=record.seed,
        sampler="random",  # which suggests nothing here
        storage=storage,
    )
    ledger.settle()
    ledger.reconcile()  # the file of the search's progress had these trials already
    storage.engine.dispose()
    aside = set_aside_file(ledger_path(directory), *SQLITE_COMPANIONS)
    new.rename(ledger_path(directory))
    return len(known), aside


_LOST = optuna.trial.create_trial(state=TrialState.FAIL)
"""In place of a trial without a record: Optuna numbers trials without a gap."""


def _described(trial: Path, space: SearchSpace) -> tuple[dict[str, Any], TrialConfig] | None:
    """A trial's record and configuration; None if they are lost."""
    described = read_json(trial / TRIAL)
    try:
        if described is not None:
            Origin(described["origin"])
            return described, TrialConfig.from_params(described["params"], space.own)
    except (KeyError, TypeError, ValueError, UserError):
        pass
    return None


def _trial(
    trial: Path,
    found: tuple[dict[str, Any], TrialConfig],
    record: StudyRecord,
    space: SearchSpace,
    rungs: itertools.count,
) -> FrozenTrial:
    """A running trial with all that is known of it; if it has ended, its ending is told later."""
    described, config = found
    origin = Origin(described["origin"])
    records = TrialRecords(trial)
    records.read()
    merged = records.merged()
    epochs = {epoch: line for epoch, (_, line) in merged.items()}
    attributes: dict[str, Any] = {"origin": origin} if origin != Origin.SEARCH else {}
    attributes |= {"params": config.to_params()}
    attributes |= {name: described[name] for name in _EXTRA if described.get(name) is not None}
    outcome = read_json(trial / OUTCOME)
    ending = None if outcome is None else _ending(outcome, config, epochs, origin, record.objectives)
    by_hand = ending is not None and ending.outcome == "stopped" and BY_HAND in str(ending.reason)
    if record.eta is not None and not origin.is_extra:
        last = ending.epochs if ending is not None and ending.outcome == "stopped" else max(epochs, default=0) + 1
        for epoch in rung_epochs(config.epochs):
            values = [epochs.get(epoch, {}).get(name) for name in record.objectives]
            if epoch <= last and None not in values:
                numbers = [value for value in values if value is not None]
                if epoch == last and by_hand and epoch not in records.merged(merged[epoch][0] - 1):
                    continue  # no rung decided that, unless an earlier attempt came to it and went on
                is_blind = record.is_blind(epochs[epoch].get(RECONSTRUCTION, 0.0))
                result = RungResult(described["number"], epoch, numbers, epoch < last or by_hand, is_blind)
                attributes |= rung_attribute(next(rungs), result)
    if ending is not None:
        attributes |= ending.attributes()
    params, distributions, own = _searched(config, record, space, origin) if origin.is_searched else ({}, {}, {})
    attributes |= own
    result = optuna.trial.create_trial(
        state=TrialState.RUNNING, params=params, distributions=distributions, user_attrs=attributes
    )
    with contextlib.suppress(TypeError, ValueError):
        result.datetime_start = datetime.fromisoformat(described["created"]).astimezone().replace(tzinfo=None)
    return result


def _ending(
    outcome: Mapping[str, Any],
    config: TrialConfig,
    epochs: Mapping[int, Record],
    origin: Origin,
    objectives: Mapping[str, str],
) -> Ending | None:
    """How a trial ended; None if its `outcome.json` is not whole, so that the trial is taken up again."""
    try:
        ended, values = int(outcome["epochs"]), outcome["values"]
        missing = 1 - ended / config.epochs if outcome["outcome"] == "stopped" else 0.0
        lacks = 0.0
        if outcome["outcome"] == "completed" and config.weight > 0 and not config.target_error:
            lacks = 1 - epochs.get(ended, {}).get("train/weight", config.weight) / config.weight
        extra = {"extra": 1.0} if origin.is_extra else {}
        infeasible = {"budget": missing, "weight": lacks if lacks > WEIGHT_TOLERANCE else 0.0, **extra}
        return Ending(
            outcome={"completed": "completed", "stopped": "stopped", "failed": "failed"}[outcome["outcome"]],
            reason=outcome["reason"],
            values=None if values is None else {name: float(values[name]) for name in objectives},
            epochs=ended,
            ended=datetime.fromisoformat(outcome["ended"]).isoformat(timespec="milliseconds"),
            infeasible=infeasible if values is not None else extra,
        )
    except (KeyError, TypeError, ValueError):
        return None


def _searched(
    config: TrialConfig, record: StudyRecord, space: SearchSpace, origin: Origin
) -> tuple[dict[str, Any], dict[str, BaseDistribution], dict[str, Any]]:
    """What the space would have asked for to suggest this trial: values and distributions by name, and attributes.

    A suggestion that lies outside was drawn from a changed range. All are empty if the space asks for parameters under
    other names: then only the sampler knows less.
    """
    asked = optuna.trial.FixedTrial(config.to_params())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a first point may lie outside its range
        try:
            space.suggested(asked, record.data)
            distributions, own = dict(asked.distributions), {}
            for name, given in asked.distributions.items() if origin == Origin.SEARCH else ():
                distributions[name] = widened(given, asked.params[name])
                if distributions[name] != given:
                    own |= own_range(name, given)
            optuna.trial.create_trial(value=0.0, params=asked.params, distributions=distributions)
        except (UserError, ValueError):
            return {}, {}, {}
    return asked.params, distributions, own
