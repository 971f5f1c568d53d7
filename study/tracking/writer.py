"""One pass over a study directory: what MLflow lacks is written, everything else is left alone.

An epoch goes out in one `log_batch`, which SQL stores make one transaction, always in the order of the epochs and with
its number as the metric `epoch`. So the newest value of `epoch` says how much of a run's history is there, and each
epoch is written once. Infinite values are logged as NaN: a SQL store would turn them into 1.8e308.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from study.config import TrialConfig, UserError
from study.disk.epochs import Record, TrialRecords
from study.disk.files import read_json, read_lines
from study.disk.layout import (
    ARRAYS,
    OUTCOME,
    TRIAL,
    attempt_folders,
    progress_path,
    report_path,
    study_path,
    trial_folders,
)
from study.tracking.description import (
    milliseconds,
    read_study,
    shared_tags,
    study_params,
    study_tags,
    trial_device,
    trial_name,
)
from study.tracking.store import one_line, redact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow takes 1000 entities a call: metrics, params (100) and tags (100) together.
_METRICS_PER_CALL = 800
_MAX_REASON = 1000
_STATUS = {"running": "RUNNING", "completed": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED"}
_FIGURES = (".png", ".html", ".csv")


@dataclasses.dataclass(frozen=True)
class SyncReport:
    """What a store holds after a pass and what the pass wrote.

    Attributes:
        experiment_id: The experiment, one per search space.
        run_id: The parent run, one per study.
        trials: Trials of the study in MLflow.
        created: Runs written anew.
        epochs: Epochs written.
        points: Metric values written.
        problems: What could not be mirrored as it stands, one line each.
    """

    experiment_id: str
    run_id: str
    trials: int
    created: int
    epochs: int
    points: int
    problems: tuple[str, ...]


@dataclasses.dataclass
class _KnownRun:
    """What MLflow holds of a run. `epoch` is the last one logged, `attempt` the one that epoch came from."""

    run_id: str
    status: str
    tags: dict[str, str]
    params: set[str]
    epoch: int = 0
    found: bool = False

    @property
    def attempt(self) -> int:
        return int(self.tags.get("trial.attempt", 1))


@dataclasses.dataclass
class _Trial:
    """A trial that MLflow may not hold completely yet."""

    number: int
    folder: Path
    config: TrialConfig
    tags: dict[str, str]
    created: int
    records: TrialRecords
    run: _KnownRun | None


class Writer:
    """Writes one study into one store; learns at the start what is there, and keeps count from then on.

    Args:
        study_dir: The study's directory.
        client: A client of the store.
        artifact_root: Where a new experiment keeps its files; None lets the server decide.

    Raises:
        UserError: The directory holds no readable `study.json`.
        Exception: What MLflow raises; a writer that raised knows no longer what MLflow holds and is thrown away.
    """

    def __init__(self, study_dir: Path, client: MlflowClient, artifact_root: str | None) -> None:
        self._directory = study_dir
        self._client = client
        self._study = read_study(study_dir)
        self.problems: dict[str, None] = {}
        self._created = self._epochs = self._points = 0
        self._unfinished: dict[int, _Trial] = {}
        self._done: set[int] = set()
        self.experiment_id = self._open_experiment(str(self._study["space"]), artifact_root)
        self._known, parent = self._learn()
        self._last_activity = milliseconds(self._study["created"])
        self._parent = parent or self._create_parent()
        self.run_id = self._parent.run_id
        self._client.log_artifact(self.run_id, str(study_path(study_dir)))

    def report(self) -> SyncReport:
        """What has been done so far."""
        trials = len(self._done) + sum(trial.run is not None for trial in self._unfinished.values())
        return SyncReport(
            self.experiment_id, self.run_id, trials, self._created, self._epochs, self._points, tuple(self.problems)
        )

    def sync(self, ended: str | None = None) -> None:
        """Brings MLflow up to date with the directory.

        Args:
            ended: How the study ended, `completed`, `interrupted` or `failed`; None while it runs.
        """
        from mlflow.exceptions import MlflowException

        self._study = read_study(self._directory)
        progress = self._progress()
        tags = study_tags(self._study, ended or "running", self.experiment_id)
        self._log(self._parent, progress, study_params(self._study), tags)
        if ended is None:
            self._set_status(self._parent, "RUNNING", 0)
        refused: MlflowException | None = None
        for trial in self._pending():
            try:
                self._sync_trial(trial, ended is not None)
            except MlflowException as error:
                # A run that the server refuses (deleted by hand, say) must not hold up the others.
                if error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                refused = error
        if refused is not None:
            raise refused
        if ended is not None:
            self._log_figures()
            self._set_status(self._parent, _STATUS.get(ended, "FAILED"), self._last_activity)

    def _progress(self) -> dict[int, Record]:
        """Hypervolume by epochs spent, as far as the parent run lacks it; a trial without epochs shares a point."""
        return {
            int(line["epochs"]): {
                "search/epochs": line["epochs"],
                "search/hypervolume": line["hypervolume"],
                "time": line["time"],
            }
            for line in read_lines(progress_path(self._directory))
            if line.get("hypervolume") is not None and line["epochs"] > self._parent.epoch
        }

    # --- what is there -------------------------------------------------------------------------------------------

    def _open_experiment(self, name: str, artifact_root: str | None) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                location = None if artifact_root is None else f"{artifact_root}/{name}"
                return self._client.create_experiment(name, artifact_location=location)
            except MlflowException:  # another study on this store was quicker
                experiment = self._client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            raise UserError(f"MLflow experiment {name!r} is in the trash: restore it, or run mlflow gc")
        return experiment.experiment_id

    def _learn(self) -> tuple[dict[int, _KnownRun], _KnownRun | None]:
        """This study's runs: by trial number, and the parent.

        An answer lost on its way makes a writer create a run twice; of such runs the fuller one stays.
        """
        children: dict[int, _KnownRun] = {}
        parent: _KnownRun | None = None
        for run in self._search(f"tags.`study.id` = '{self._study['id']}'"):
            known = _known(run)
            number = known.tags.get("trial.number")
            if number is None:
                parent = self._fuller(known, parent)
            elif number.isdecimal():
                children[int(number)] = self._fuller(known, children.get(int(number)))
        return children, parent

    def _fuller(self, run: _KnownRun, other: _KnownRun | None) -> _KnownRun:
        if other is None:
            return run
        stays, goes = (run, other) if run.epoch > other.epoch else (other, run)
        self._client.delete_run(goes.run_id)
        return stays

    def _search(self, condition: str) -> Iterator[Run]:
        token: str | None = None
        while True:
            page = self._client.search_runs([self.experiment_id], condition, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _pending(self) -> list[_Trial]:
        """The trials that MLflow may not hold completely, in order."""
        for number, folder in trial_folders(self._directory):
            if number not in self._done and number not in self._unfinished:
                if self._holds_all(number, folder):
                    self._done.add(number)
                elif (trial := self._open_trial(number, folder)) is not None:
                    self._unfinished[number] = trial
        return list(self._unfinished.values())

    def _holds_all(self, number: int, folder: Path) -> bool:
        """Whether an earlier writer got to the end of a trial; its status is the last thing that is written."""
        run = self._known.get(number)
        if run is None or run.status == "RUNNING" or run.tags.get("mlflow.parentRunId") != self.run_id:
            return False
        outcome = read_json(folder / OUTCOME)
        if outcome is None or run.tags.get("trial.outcome") != outcome.get("outcome"):
            return False
        self._last_activity = max(self._last_activity, milliseconds(outcome.get("ended"), default=0))
        return run.tags.get("trial.epochs") == str(outcome.get("epochs"))

    def _open_trial(self, number: int, folder: Path) -> _Trial | None:
        record = read_json(folder / TRIAL)
        if record is None:  # its driver has made the folder, and not yet written the file
            return None
        try:
            if record["number"] != number:
                raise ValueError(f"number {record['number']!r}")
            config = TrialConfig.from_params(record["params"])
            created = milliseconds(record["created"])
            tags = {"trial.number": str(number), "trial.origin": str(record["origin"])}
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            self.problems[f"trial {number}: trial.json is left out: {one_line(error)}"] = None
            return None
        for name in ("replicate_of", "retrain_of"):
            if (other := record.get(name)) is not None:
                tags[f"trial.{name}"] = str(other)
        return _Trial(number, folder, config, tags, created, TrialRecords(folder), self._known.pop(number, None))

    # --- writing -------------------------------------------------------------------------------------------------

    def _create_parent(self) -> _KnownRun:
        tags = study_tags(self._study, "running", self.experiment_id)
        return self._create(str(self._study["name"]), milliseconds(self._study["created"]), tags)

    def _create(self, name: str, created: int, tags: dict[str, str]) -> _KnownRun:
        run = self._client.create_run(self.experiment_id, start_time=created, tags=tags, run_name=name)
        self._created += 1
        return _KnownRun(run.info.run_id, "RUNNING", dict(tags), set())

    def _sync_trial(self, trial: _Trial, ended: bool) -> None:
        outcome = read_json(trial.folder / OUTCOME)  # before the epochs: once it is there, they all are
        status = "interrupted" if ended else "running"
        grown = trial.records.read()
        if outcome is None and not grown and trial.run is not None and trial.run.status == _STATUS[status]:
            return
        epochs = trial.records.merged()
        tags = {**trial.tags, "trial.outcome": status, "trial.device": trial_device(trial.folder)}
        if outcome is not None:
            status = str(outcome.get("outcome"))
            tags |= {"trial.outcome": status, "trial.epochs": str(outcome.get("epochs"))}
            if outcome.get("reason"):
                tags["trial.reason"] = redact(str(outcome["reason"]))[:_MAX_REASON]
            if status != "failed" and isinstance(outcome.get("epochs"), int):  # an orphaned process may write on
                epochs = {epoch: found for epoch, found in epochs.items() if epoch <= outcome["epochs"]}
        run = self._run_of(trial, last_epoch=max(epochs, default=0) if outcome else None)
        missing = {epoch: found for epoch, found in epochs.items() if epoch > run.epoch}
        if missing:
            tags["trial.attempt"] = str(missing[max(missing)][0])
        self._log(
            run,
            {epoch: record for epoch, (_, record) in missing.items()},
            {name: str(value) for name, value in trial.config.to_params().items()},
            {**self._child_tags(), **tags},
        )
        last_time = max((int(1000 * record["time"]) for _, record in epochs.values()), default=trial.created)
        if outcome is not None:
            last_time = milliseconds(outcome.get("ended"), default=last_time)
            self._log_files(trial, run, max(epochs, default=0), last_time)
        self._last_activity = max(self._last_activity, last_time)
        self._set_status(run, _STATUS.get(status, "FAILED"), last_time)
        if outcome is not None:
            self._done.add(trial.number)
            del self._unfinished[trial.number]

    def _run_of(self, trial: _Trial, last_epoch: int | None) -> _KnownRun:
        """The trial's run; a new one where there is none, or where the one there holds epochs that do not count.

        MLflow cannot take an epoch back, so a run is replaced when a newer attempt started again further back and did
        not reproduce what was logged (possible on a GPU), or when an orphan wrote past the trial's end.
        """
        run = trial.run
        if run is not None and (
            trial.records.contradicts(run.attempt, run.epoch) or (last_epoch and run.epoch > last_epoch)
        ):
            self._client.delete_run(run.run_id)
            self.problems[f"trial {trial.number}: its run was replaced, a newer attempt went another way"] = None
            run = None
        if run is None:
            tags = {**self._child_tags(), **trial.tags}
            run = trial.run = self._create(trial_name(trial.number, trial.config), trial.created, tags)
        return run

    def _log_figures(self) -> None:
        """Uploads what the study's end has left: its record and pictures, and the report with every figure."""
        report = report_path(self._directory).parent
        found = [*self._directory.iterdir(), *(report.iterdir() if report.is_dir() and not report.is_symlink() else ())]
        for path in sorted(found):
            if (
                (path.suffix in _FIGURES or path == study_path(self._directory))
                and path.is_file()
                and not path.is_symlink()
            ):
                self._client.log_artifact(self.run_id, str(path), "report" if path.parent == report else None)

    def _child_tags(self) -> dict[str, str]:
        return {"mlflow.parentRunId": self.run_id, **shared_tags(self._study)}

    def _log(
        self, run: _KnownRun, epochs: Mapping[int, Record], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Adds what the run lacks, whole epochs at a time; params are never changed, since MLflow forbids it."""
        from mlflow.entities import Metric, Param, RunTag

        new_params = [Param(name, value) for name, value in params.items() if name not in run.params]
        new_tags = [RunTag(name, value) for name, value in tags.items() if run.tags.get(name) != value]
        for batch in _batches(epochs) or ([{}] if new_params or new_tags else []):
            metrics = [
                Metric(name, math.nan if math.isinf(value) else value, int(1000 * record["time"]), epoch)
                for epoch, record in batch.items()
                for name, value in record.items()
                if name != "time"
            ]
            self._client.log_batch(run.run_id, metrics, new_params, new_tags, synchronous=True)
            run.epoch = max(batch, default=run.epoch)
            self._epochs += len(batch)
            self._points += len(metrics)
            new_params, new_tags = [], []
        run.params |= params.keys()
        run.tags |= tags

    def _log_files(self, trial: _Trial, run: _KnownRun, epoch: int, time: int) -> None:
        """Uploads the newest attempt's pictures and arrays.

        `log_image` names the pictures so that MLflow's image grid lines them up across runs by key and step; a plain
        file beside them would break that grid, so there are none.
        """
        attempts = [folder for _, folder in attempt_folders(trial.folder) if (folder / "images").is_dir()]
        if not attempts:
            return
        from PIL import Image

        held = {file.path for file in self._client.list_artifacts(run.run_id, "images")} if run.found else set()
        for path in sorted((attempts[-1] / "images").glob("*.png")):
            if path.is_symlink():
                continue
            key = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)
            # The small copy is what `log_image` writes last.
            if any(name.startswith(f"images/{key}+step+{epoch}+") and name.endswith(".webp") for name in held):
                continue
            try:
                with Image.open(path) as picture:
                    picture.load()
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                self.problems[f"trial {trial.number}: {path.name} is left out: {one_line(error)}"] = None
                continue
            self._client.log_image(run.run_id, picture, key=key, step=epoch, timestamp=time, synchronous=True)
        if (arrays := attempts[-1] / ARRAYS).is_file() and not arrays.is_symlink():
            self._client.log_artifact(run.run_id, str(arrays))

    def _set_status(self, run: _KnownRun, status: str, end: int) -> None:
        if run.status == status:
            return
        if status == "RUNNING":
            self._client.update_run(run.run_id, status)
        else:
            self._client.set_terminated(run.run_id, status, end)
        run.status = status


def _known(run: Run) -> _KnownRun:
    metrics = run.data.metrics
    epoch = metrics.get("epoch", metrics.get("search/epochs", 0.0))  # a trial's, or the study's
    return _KnownRun(
        run.info.run_id, run.info.status, dict(run.data.tags), set(run.data.params), int(epoch), found=True
    )


def _batches(epochs: Mapping[int, Record]) -> list[dict[int, Record]]:
    """Consecutive epochs, as many as fit into one call."""
    batches: list[dict[int, Record]] = []
    size = 0
    for epoch, record in epochs.items():
        if not batches or size + len(record) > _METRICS_PER_CALL:
            batches.append({})
            size = 0
        batches[-1][epoch] = record
        size += len(record)
    return batches
