"""One pass over a study's folder: writes what MLflow lacks and leaves everything else alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from study.components import Components
from study.disk.epochs import Record
from study.disk.files import read_lines
from study.disk.layout import live_page_path, progress_path, report_path, study_path, trial_folders
from study.disk.study_json import StudyRecord
from study.disk.timestamp import milliseconds
from study.tracking.description import read_study, shared_tags, study_params, study_tags
from study.tracking.history import HISTORY, History
from study.tracking.runs import Runs, StoredRun
from study.tracking.store import one_line
from study.tracking.trial import Trial, end_if_complete, open_trial
from study.tracking.views import Views, chart_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FIGURES = (".png", ".html", ".csv")


@dataclasses.dataclass(frozen=True)
class SyncReport:
    """What a store holds after a pass, and what its writer has written.

    Attributes:
        experiment_id: The experiment, one per search space.
        run_id: The parent run, one per study.
        page: Address, within MLflow's UI, of the study's answer.
        trials: Trials of the study in MLflow.
        created: Runs created.
        epochs: Epochs written.
        points: Metric values written.
        problems: What could not be mirrored as it stands, one line each.
    """

    experiment_id: str
    run_id: str
    page: str
    trials: int
    created: int
    epochs: int
    points: int
    problems: tuple[str, ...]


class Writer:
    """Writes one study into one store. It asks once what is there, and keeps count from then on.

    Args:
        study_dir: The study's folder.
        client: A client of the store.
        artifact_root: Where a new experiment keeps its files; None lets the server decide.

    Raises:
        UserError: The folder holds no readable `study.json`.
        Exception: What MLflow raises. Throw a writer away that raised: it no longer knows what MLflow holds.
    """

    def __init__(self, study_dir: Path, client: MlflowClient, artifact_root: str | None) -> None:
        self._directory = study_dir
        self._client = client
        study = read_study(study_dir)
        self._runs = Runs(client, study, artifact_root)
        self._found, parent = self._runs.find()
        self._open: dict[int, Trial] = {}
        self._done: dict[int, StoredRun] = {}
        self._history = History(study_dir)
        self._views = Views(study_dir, self._runs.experiment_tags)
        self._page = chart_address(study, self._runs.experiment_id)
        self._last_activity = milliseconds(study.created)
        tags = study_tags(study, "running", self._runs.experiment_id)
        self._parent = parent or self._runs.create(study.name, self._last_activity, tags)
        self._runs.log_data(self._parent)
        self._record = b""

    def report(self) -> SyncReport:
        """What has been done so far."""
        runs = self._runs
        counts = (len(self._stored()), runs.created, runs.epochs, runs.points)
        return SyncReport(runs.experiment_id, self._parent.run_id, self._page, *counts, tuple(runs.problems))

    def sync(self, ended: str | None = None) -> None:
        """Brings MLflow up to date with the folder.

        Args:
            ended: How the study ended, `completed`, `interrupted` or `failed`; None while it runs.
        """
        study = read_study(self._directory)
        self._log_record()
        tags = study_tags(study, ended or "running", self._runs.experiment_id)
        self._runs.log(self._parent, self._progress(), study_params(study), tags)
        if ended is None:
            self._runs.set_outcome(self._parent, "running", 0)
        self._sync_trials(study, ended is not None)
        self._views.log(self._runs, study)
        try:
            self._history.log(self._runs, self._parent, self._stored(), self._open, ended is not None)
        except OSError as error:  # a full temporary folder, say: readers do without the artifact
            self._runs.problems[f"{HISTORY} is left out: {one_line(error)}"] = None
        if ended is not None:
            self._log_figures()
            self._runs.set_outcome(self._parent, ended, self._last_activity)

    def _log_record(self) -> None:
        """Uploads `study.json` whenever it has changed: a study that is killed can get it back from there."""
        path = study_path(self._directory)
        content = path.read_bytes()
        if content != self._record:
            self._client.log_artifact(self._parent.run_id, str(path))
            self._record = content

    def _sync_trials(self, study: StudyRecord, ended: bool) -> None:
        from mlflow.exceptions import MlflowException

        tags = {"mlflow.parentRunId": self._parent.run_id, **shared_tags(study)}
        refused: MlflowException | None = None
        self._open_new(study.described)
        for trial in list(self._open.values()):
            try:
                complete = trial.sync(self._runs, tags, ended)
            except MlflowException as error:
                # A run that the server refuses (deleted by hand, say) must not hold up the others.
                if error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                refused = error
                continue
            self._last_activity = max(self._last_activity, trial.last_time)
            if complete and trial.run is not None:
                self._history.finish(trial, trial.run)
                self._done[trial.number] = trial.run
                del self._open[trial.number]
        if refused is not None:
            raise refused

    def _open_new(self, own: Components) -> None:
        """Opens the trials that have a folder by now, unless an earlier writer finished them."""
        for number, folder in trial_folders(self._directory):
            if number in self._done or number in self._open:
                continue
            run = self._found.get(number)
            end = None if run is None else end_if_complete(folder, run, self._parent.run_id)
            if run is not None and end is not None:
                self._done[number] = run
                self._last_activity = max(self._last_activity, end)
            elif (trial := open_trial(folder, number, run, own, self._runs.problems)) is not None:
                self._open[number] = trial

    def _stored(self) -> dict[int, StoredRun]:
        """The trials' runs in MLflow, by number."""
        return self._done | {number: trial.run for number, trial in self._open.items() if trial.run is not None}

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

    def _log_figures(self) -> None:
        """Uploads what the study's end has left: `study.json`, pictures, and the report with every figure."""
        report = report_path(self._directory).parent
        found = [*self._directory.iterdir(), *(report.iterdir() if report.is_dir() and not report.is_symlink() else ())]
        for path in sorted(found):
            is_wanted = path.suffix in _FIGURES or path == study_path(self._directory)
            if is_wanted and path != live_page_path(self._directory) and path.is_file() and not path.is_symlink():
                self._client.log_artifact(self._parent.run_id, str(path), "report" if path.parent == report else None)
