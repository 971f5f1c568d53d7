"""One trial in MLflow: its run, its epochs, and the files of its newest attempt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from study.components import Components
from study.config import TrialConfig, UserError
from study.disk.epochs import Record, TrialRecords, counted_epochs
from study.disk.files import read_json
from study.disk.layout import ARRAYS, OUTCOME, TRIAL, attempt_folders
from study.disk.timestamp import milliseconds
from study.tracking.description import trial_device, trial_name
from study.tracking.pictures import log_pictures
from study.tracking.runs import Runs, StoredRun, status_of
from study.tracking.store import one_line, redact

_MAX_REASON = 1000


class Trial:
    """A trial that MLflow may not hold completely yet.

    Args:
        folder: The trial's folder.
        number: The trial's number.
        record: What `trial.json` says.
        run: Its run, if there is one.
        own: Descriptions of the components of the study's own.

    Attributes:
        last_time: When the trial last did something, in Unix milliseconds; 0 before the first `sync`.

    Raises:
        UserError: The record holds no valid parameters.
        KeyError, TypeError, ValueError, AttributeError: The record is damaged.
    """

    def __init__(
        self, folder: Path, number: int, record: Mapping[str, Any], run: StoredRun | None, own: Components
    ) -> None:
        if record["number"] != number:
            raise ValueError(f"number {record['number']!r}")
        self.number = number
        self.run = run
        self.last_time = 0
        self._folder = folder
        self._config = TrialConfig.from_params(record["params"], own)
        self._created = milliseconds(record["created"])
        self._tags = {"trial.number": str(number), "trial.origin": str(record["origin"])}
        for name in ("replicate_of", "retrain_of"):
            if (other := record.get(name)) is not None:
                self._tags[f"trial.{name}"] = str(other)
        self._records = TrialRecords(folder)
        self._outcome: dict[str, Any] | None = None

    def epochs(self) -> Iterable[Record]:
        """The epochs that the last `sync` found."""
        return (record for _, record in counted_epochs(self._records, self._outcome).values())

    def sync(self, runs: Runs, study_tags: Mapping[str, str], study_ended: bool) -> bool:
        """Brings the trial's run up to date with its folder.

        Args:
            runs: The study's runs.
            study_tags: Tags that every trial of the study carries.
            study_ended: Whether nobody trains the trial any more.

        Returns:
            Whether the trial has ended and its run holds everything.
        """
        outcome = self._outcome = read_json(self._folder / OUTCOME)  # Read first: it is written after the last epoch.
        state = ("interrupted" if study_ended else "running") if outcome is None else str(outcome.get("outcome"))
        grown = self._records.read()
        if outcome is None and not grown and self.run is not None and self.run.status == status_of(state):
            return False
        epochs = counted_epochs(self._records, outcome)
        last_epoch = max(epochs, default=0)
        own_tags = {**study_tags, **self._tags}
        run = self._run_for(runs, own_tags, None if outcome is None else last_epoch)
        runs.log_data(run)
        missing = {epoch: found for epoch, found in epochs.items() if epoch > run.epoch}
        tags = {**own_tags, "trial.outcome": state, "trial.device": trial_device(self._folder)}
        if missing:
            tags["trial.attempt"] = str(missing[max(missing)][0])
        if outcome is not None:
            tags["trial.epochs"] = str(outcome.get("epochs"))
            if outcome.get("reason"):
                tags["trial.reason"] = redact(str(outcome["reason"]))[:_MAX_REASON]
        params = {name: str(value) for name, value in self._config.to_params().items()}
        runs.log(run, {epoch: record for epoch, (_, record) in missing.items()}, params, tags)
        self.last_time = max((int(1000 * record["time"]) for _, record in epochs.values()), default=self._created)
        if outcome is not None:
            self.last_time = milliseconds(outcome.get("ended"), default=self.last_time)
            self._log_files(runs, run, last_epoch)
        runs.set_outcome(run, state, self.last_time)
        return outcome is not None

    def _run_for(self, runs: Runs, tags: Mapping[str, str], last_epoch: int | None) -> StoredRun:
        """The trial's run; a new one if there is none, or if the run holds epochs that do not count.

        MLflow cannot take an epoch back. So the run is replaced if a newer attempt started from an earlier epoch and
        did not reproduce what was logged (possible on a GPU), or if an orphaned process wrote past the trial's end.
        """
        run = self.run
        if run is not None and (
            self._records.contradicts(run.attempt, run.epoch) or (last_epoch and run.epoch > last_epoch)
        ):
            runs.client.delete_run(run.run_id)
            runs.problems[f"trial {self.number}: its run was replaced, a newer attempt went another way"] = None
            run = None
        if run is None:
            run = self.run = runs.create(trial_name(self.number, self._config), self._created, tags)
        return run

    def _log_files(self, runs: Runs, run: StoredRun, epoch: int) -> None:
        """Uploads the newest attempt's pictures and arrays."""
        log_pictures(runs, run, self.number, self._folder, epoch, self.last_time)
        attempts = [folder for _, folder in attempt_folders(self._folder) if (folder / "images").is_dir()]
        if attempts and (arrays := attempts[-1] / ARRAYS).is_file() and not arrays.is_symlink():
            runs.client.log_artifact(run.run_id, str(arrays))


def open_trial(
    folder: Path, number: int, run: StoredRun | None, own: Components, problems: dict[str, None]
) -> Trial | None:
    """The trial in a folder. None if its file is not written yet, or damaged; `problems` then says so."""
    record = read_json(folder / TRIAL)
    if record is None:
        return None
    try:
        return Trial(folder, number, record, run, own)
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        problems[f"trial {number}: trial.json is left out: {one_line(error)}"] = None
        return None


def end_if_complete(folder: Path, run: StoredRun, parent_id: str) -> int | None:
    """When a trial ended, in Unix milliseconds, if an earlier writer finished its run; None if it did not.

    A run's status is the last thing that is written.
    """
    if run.status == "RUNNING" or run.tags.get("mlflow.parentRunId") != parent_id:
        return None
    outcome = read_json(folder / OUTCOME)
    if outcome is None or run.tags.get("trial.outcome") != outcome.get("outcome"):
        return None
    if run.tags.get("trial.epochs") != str(outcome.get("epochs")):
        return None
    return milliseconds(outcome.get("ended"), default=0)


def finished_epochs(folder: Path) -> Iterable[Record]:
    """The epochs of a trial that has ended."""
    records = TrialRecords(folder)
    records.read()
    return (record for _, record in counted_epochs(records, read_json(folder / OUTCOME)).values())
