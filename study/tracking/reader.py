"""Reads the frames of `load_study` from MLflow, for when the study's folder is not at hand.

Params and outcomes come from `search_runs`, epochs from the artifact that `study.tracking.history` describes. If a run
is ahead of the artifact, or an earlier version wrote the study, MLflow is asked for one metric of one run at a time, 20
to 40 ms each from a server. `python -m study.sync` gives such a study its artifact.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import UserError
from study.disk.files import read_json
from study.disk.layout import ARRAYS, TRIAL, figure_path, trial_folders
from study.disk.study_json import StudyRecord, parse_study
from study.results.frame import MEMORY, METRIC_PREFIXES, TIMES, Arrays, StudyFrames, build_frames, read_arrays
from study.tracking.history import read_history
from study.tracking.store import check_uri, connect, one_line, redact, search_runs, server_page, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_CONNECTIONS = 8
_ONCE = ("test/", "final_seconds")
"""What a trial measures once, at its last epoch."""


def load_from_mlflow(tracking_uri: str, name: str) -> StudyFrames:
    """Reads the newest study of that name; columns and dtypes are those of `load_study`.

    Raises:
        UserError: There is no such study, or the store cannot be read.
    """
    check_uri(tracking_uri)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with _told_errors(tracking_uri):
        client = _connect(tracking_uri)
        parent = _parent(client, tracking_uri, name)
        condition = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
        found = list(search_runs(client, [parent.info.experiment_id], condition))
        children = {int(number): run for run in found if (number := run.data.tags.get("trial.number", "")).isdecimal()}
        study = _study(client, parent)
        epochs = _epochs(client, parent, children)
    arrays = functools.partial(_fetch_arrays, client, {number: run.info.run_id for number, run in children.items()})
    frames = build_frames(
        study.replace(outcome=parent.data.tags.get("study.outcome", study.outcome)),
        [_record(number, run) for number, run in children.items()],
        epochs,
        {study.name: arrays},
    )
    return dataclasses.replace(frames, pictures={study.name: functools.partial(_fetch_picture, client, parent)})


def record_from_mlflow(tracking_uri: str, directory: Path) -> StudyRecord:
    """The `study.json` of a study whose folder has lost it, as its last session has left it in MLflow.

    Of the studies of that name it is the one that has the folder's trials: others may have called theirs so too.

    Args:
        tracking_uri: The store.
        directory: The study's folder.

    Raises:
        UserError: There is no such study, or several, or the store cannot be read.
    """
    check_uri(tracking_uri)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    trials = {number: read_json(folder / TRIAL) for number, folder in trial_folders(directory)}
    params = {number: record["params"] for number, record in trials.items() if record and "params" in record}
    with _told_errors(tracking_uri):
        client = _connect(tracking_uri)
        parents = [run for run in _named(client, directory.name) if _has_trials(client, run, params)]
        if len(parents) != 1:
            found = "".join(f"; run {run.info.run_id}" for run in parents)
            raise UserError(
                f"MLflow at {redact(tracking_uri)} has {len(parents) or 'no'} studies {directory.name!r} with the "
                f"trials in {directory}{found}: give --tracking-uri if the study used another store"
            )
        return _study(client, parents[0])


def _has_trials(client: MlflowClient, parent: Run, params: Mapping[int, Mapping[str, Any]]) -> bool:
    """Whether a study in MLflow has trials of a folder, and none that differs from it."""
    condition = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    known = {
        run.data.tags.get("trial.number"): run.data.params
        for run in search_runs(client, [parent.info.experiment_id], condition)
    }
    shared = [(values, known[str(number)]) for number, values in params.items() if str(number) in known]
    return bool(shared) and all(
        str(values[name]) == there[name] for values, there in shared for name in values.keys() & there.keys()
    )


def run_links(tracking_uri: str, study: StudyRecord, local_server: str) -> dict[int, str]:
    """Trial number -> address of its run's page; empty if the store does not know the study or cannot be read.

    Args:
        tracking_uri: A store or server.
        study: What `study.json` says.
        local_server: Address at which a SQL store is served.
    """
    database = sqlite_path(tracking_uri)
    if database is not None and not database.is_file():
        return {}
    page = server_page(tracking_uri) or local_server
    try:
        client = connect(tracking_uri)
        condition = f"tags.`study.id` = '{study.id}' and tags.`trial.number` != ''"
        return {
            int(run.data.tags["trial.number"]): f"{page}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
            for run in search_runs(client, _experiments(client), condition)
        }
    except Exception:  # The links are a courtesy: without them the report is still worth having.
        return {}


@contextlib.contextmanager
def _told_errors(tracking_uri: str) -> Iterator[None]:
    """Turns what a store raises into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # MLflow, SQLAlchemy, requests and the file system each have their own
        raise UserError(f"MLflow at {redact(tracking_uri)} cannot be read: {one_line(error)}") from error


def _connect(tracking_uri: str) -> MlflowClient:
    """Opens a store that is there: reading makes none."""
    database = sqlite_path(tracking_uri)
    if database is not None and not database.is_file():
        raise UserError(f"no MLflow store {redact(tracking_uri)}: give the one that the study was written to")
    return connect(tracking_uri)


def _parent(client: MlflowClient, tracking_uri: str, name: str) -> Run:
    parent = _newest(client, name)
    if parent is None:
        raise UserError(f"no study {name!r} in MLflow at {redact(tracking_uri)}")
    return parent


def _experiments(client: MlflowClient) -> list[str]:
    return [experiment.experiment_id for experiment in client.search_experiments()]


def _newest(client: MlflowClient, name: str) -> Run | None:
    """The parent run of the newest study of that name."""
    return max(_named(client, name), key=lambda run: run.info.start_time, default=None)


def _named(client: MlflowClient, name: str) -> Iterator[Run]:
    """The parent runs of all studies of that name."""
    quoted = name.replace("'", "''")
    condition = f"tags.`study.name` = '{quoted}' and tags.`study.space` != ''"  # Only parent runs say their space.
    return search_runs(client, _experiments(client), condition)


def _study(client: MlflowClient, parent: Run) -> StudyRecord:
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(parent.info.run_id, "study.json", folder)
        return parse_study(read_json(Path(path)) or {}, f"study.json of run {parent.info.run_id}")


def _record(number: int, run: Run) -> dict[str, Any]:
    tags = run.data.tags
    replicate_of = tags.get("trial.replicate_of")
    return {
        **run.data.params,
        "number": number,
        "origin": tags.get("trial.origin", "search"),
        "outcome": tags.get("trial.outcome", "running"),
        "reason": tags.get("trial.reason"),
        "replicate_of": None if replicate_of is None else int(replicate_of),
    }


def _epochs(client: MlflowClient, parent: Run, children: Mapping[int, Run]) -> list[dict[str, Any]]:
    """One row per trial and epoch: from the artifact if it holds a run's last epoch, else from the run itself."""
    history = read_history(client, parent.info.run_id)
    epochs: list[dict[str, Any]] = []
    behind: dict[int, Run] = {}
    for number, run in children.items():
        rows = history.get(run.info.run_id, [])
        if max((row["epoch"] for row in rows), default=0) < run.data.metrics.get("epoch", 0):
            behind[number] = run
        else:
            epochs += rows
    return epochs + _ask_each(client, behind)


def _ask_each(client: MlflowClient, runs: Mapping[int, Run]) -> list[dict[str, Any]]:
    """The epochs of some runs, one call per run and metric. Points that belong to no logged epoch are left out."""
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    wanted: list[tuple[int, str]] = []
    for number, run in runs.items():
        last = int(run.data.metrics["epoch"])
        for key, value in run.data.metrics.items():
            if key.startswith(_ONCE):  # The newest value is the only one.
                rows.setdefault((number, last), {})[key] = value
            elif key == "epoch" or key in (*TIMES, MEMORY) or key.startswith(METRIC_PREFIXES):
                wanted.append((number, key))
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        histories = pool.map(lambda pair: client.get_metric_history(runs[pair[0]].info.run_id, pair[1]), wanted)
        for (number, key), points in zip(wanted, histories, strict=True):
            for point in sorted(points, key=lambda point: point.timestamp):  # If logged twice, the newer one counts.
                row = rows.setdefault((number, point.step), {})
                row[key] = point.value
                if key == "epoch":
                    row |= {"number": number, "time": point.timestamp / 1000}
    return [row for row in rows.values() if "epoch" in row]


def _fetch_picture(client: MlflowClient, parent: Run, name: str) -> bytes | None:
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            file = figure_path(Path(), name).name
            return Path(client.download_artifacts(parent.info.run_id, file, folder)).read_bytes()
        except (MlflowException, OSError):  # it could not be drawn
            return None


def _fetch_arrays(client: MlflowClient, runs: dict[int, str], number: int) -> Arrays | None:
    from mlflow.exceptions import MlflowException

    if number not in runs:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            return read_arrays(Path(client.download_artifacts(runs[number], ARRAYS, folder)))
        except (MlflowException, OSError):  # a trial that did not end has none
            return None
