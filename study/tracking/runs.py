"""The runs of one study in MLflow: finds them, creates them, and adds to them.

An epoch goes out in one `log_batch`, which SQL stores make one transaction, always in the order of the epochs and with
its number as the metric `epoch`. So the newest value of `epoch` says how much of a run's history is there, and each
epoch is written once. Infinite values are logged as NaN: a SQL store would turn them into 1.8e308.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from study.config import UserError
from study.disk.epochs import Record
from study.disk.study_json import StudyRecord
from study.tracking.store import redact, search_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow takes 1000 entities a call: metrics, params (100) and tags (100) together.
_METRICS_PER_CALL = 800
_DIGEST = 16
_STATUS = {"running": "RUNNING", "completed": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED"}


@dataclasses.dataclass
class StoredRun:
    """What MLflow holds of a run. `epoch` is the last one logged, `attempt` the one that epoch came from."""

    run_id: str
    status: str
    tags: dict[str, str]
    params: set[str]
    epoch: int = 0
    found: bool = False
    """Whether an earlier writer created it."""
    has_data: bool = False
    """Whether its data set is logged."""

    @property
    def attempt(self) -> int:
        return int(self.tags.get("trial.attempt", 1))


class Runs:
    """Writes the runs of one study.

    Args:
        client: A client of the store.
        study: What `study.json` says.
        artifact_root: Where a new experiment keeps its files; None lets the server decide.

    Attributes:
        experiment_id: The experiment, one per search space.
        experiment_tags: Its tags, as they were at first.
        created: Runs created.
        epochs: Epochs written.
        points: Metric values written.
        problems: What could not be mirrored as it stands, one line each, in the order found.

    Raises:
        UserError: The experiment is in MLflow's trash.
    """

    def __init__(self, client: MlflowClient, study: StudyRecord, artifact_root: str | None) -> None:
        self.client = client
        self.experiment_id, self.experiment_tags = _open_experiment(client, study.space, artifact_root)
        self._study_id = study.id
        self._data = study.data
        self._takes_data = True
        self.created = self.epochs = self.points = 0
        self.problems: dict[str, None] = {}

    def find(self) -> tuple[dict[int, StoredRun], StoredRun | None]:
        """The trials' runs by trial number, and the parent run.

        If an answer was lost, a writer created a run twice. The run with more epochs stays, the other is deleted.
        """
        children: dict[int, StoredRun] = {}
        parent: StoredRun | None = None
        for found in search_runs(self.client, [self.experiment_id], f"tags.`study.id` = '{self._study_id}'"):
            run = _stored(found)
            number = run.tags.get("trial.number")
            if number is None:
                parent = self._fuller(run, parent)
            elif number.isdecimal():
                children[int(number)] = self._fuller(run, children.get(int(number)))
        return children, parent

    def _fuller(self, run: StoredRun, other: StoredRun | None) -> StoredRun:
        if other is None:
            return run
        stays, goes = (run, other) if run.epoch > other.epoch else (other, run)
        self.client.delete_run(goes.run_id)
        return stays

    def create(self, name: str, created: int, tags: Mapping[str, str]) -> StoredRun:
        """Creates a run; `created` in Unix milliseconds."""
        run = self.client.create_run(self.experiment_id, start_time=created, tags=dict(tags), run_name=name)
        self.created += 1
        return StoredRun(run.info.run_id, "RUNNING", dict(tags), set())

    def log(
        self, run: StoredRun, epochs: Mapping[int, Record], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Adds what the run lacks, whole epochs at a time. Params never change: MLflow forbids it."""
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
            self.client.log_batch(run.run_id, metrics, new_params, new_tags, synchronous=True)
            run.epoch = max(batch, default=run.epoch)
            self.epochs += len(batch)
            self.points += len(metrics)
            new_params, new_tags = [], []
        run.params |= params.keys()
        run.tags |= tags

    def log_data(self, run: StoredRun) -> None:
        """Logs the data set as the run's input, which the UI shows as *Dataset*; servers before 2.4 know none.

        Logged a second time, after a lost answer, it stays one input.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        if run.has_data or not self._takes_data:
            return
        data = self._data
        dataset = Dataset(
            name=data.name,
            digest=data.hash[:_DIGEST] or "unknown",
            source_type="local",
            source=json.dumps({"uri": data.name}),
            profile=json.dumps({"num_rows": data.train_size, "num_classes": data.num_classes}),
        )
        try:
            self.client.log_inputs(run.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        except MlflowException as error:
            if error.error_code != "ENDPOINT_NOT_FOUND":
                raise
            self._takes_data = False
        run.has_data = True

    def set_outcome(self, run: StoredRun, outcome: str, end: int) -> None:
        """Sets a run's status to what fits an outcome; `end` in Unix milliseconds."""
        status = status_of(outcome)
        if run.status == status:
            return
        if status == "RUNNING":
            self.client.update_run(run.run_id, status)
        else:
            self.client.set_terminated(run.run_id, status, end)
        run.status = status


def status_of(outcome: str) -> str:
    """MLflow's status for the outcome of a trial or a study."""
    return _STATUS.get(outcome, "FAILED")


def _open_experiment(client: MlflowClient, name: str, artifact_root: str | None) -> tuple[str, dict[str, str]]:
    """The experiment's id and tags; creates the experiment if there is none."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            location = None if artifact_root is None else f"{artifact_root}/{name}"
            return client.create_experiment(name, artifact_location=location), {}
        except MlflowException:  # another study on this store was quicker
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        restore = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        raise UserError(
            f"MLflow experiment {name!r} is in the trash: restore it: "
            f"MLFLOW_TRACKING_URI={shlex.quote(redact(client.tracking_uri))} {restore}"
        )
    return experiment.experiment_id, dict(experiment.tags)


def _stored(run: Run) -> StoredRun:
    metrics = run.data.metrics
    epoch = metrics.get("epoch", metrics.get("search/epochs", 0.0))  # a trial's, or the study's
    return StoredRun(
        run.info.run_id,
        run.info.status,
        dict(run.data.tags),
        set(run.data.params),
        int(epoch),
        found=True,
        has_data=bool(run.inputs and run.inputs.dataset_inputs),
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
