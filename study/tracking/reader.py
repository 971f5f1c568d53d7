"""The same frames as `load_study`, read from MLflow where the study's directory is not at hand.

A SQL store is asked for all histories in one query (a million points: 3.5 s of CPU time on SQLite). An MLflow server
gives one metric of one run a call, 20 to 40 ms each on two busy cores: a study of 40 trials took about a minute, and a
thousand runs are a matter of ten; there, read the study's directory or the database behind the server.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from study.config import UserError
from study.disk.layout import ARRAYS
from study.results.frame import METRIC_PREFIXES, TIMES, Arrays, StudyFrames, build_frames, read_arrays
from study.tracking.store import check_uri, connect, one_line, redact, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CONNECTIONS = 8
ONCE = ("test/", "final_seconds")
REMOTE = ("http:", "https:", "databricks")
_HISTORY = "SELECT run_uuid, key, step, value, is_nan, timestamp FROM metrics WHERE run_uuid IN :runs"
_RUNS = 100
"""Runs asked for at once. Joined with their parent's tag, PostgreSQL without statistics of a new store took minutes."""
_LINKS = """
    SELECT n.value, r.experiment_id, r.run_uuid
    FROM runs r JOIN tags s ON s.run_uuid = r.run_uuid JOIN tags n ON n.run_uuid = r.run_uuid
    WHERE s.key = 'study.id' AND s.value = :study AND n.key = 'trial.number' AND r.lifecycle_stage = 'active'
"""

Point = tuple[str, str, int, float, bool, int]
"""Run, metric, step, value, whether that stands for NaN, and time in Unix milliseconds."""


def load_from_mlflow(tracking_uri: str, name: str) -> StudyFrames:
    """Reads the newest study of that name; columns and dtypes are those of `load_study`.

    Raises:
        UserError: There is no such study, or the store cannot be read.
    """
    check_uri(tracking_uri)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    database = sqlite_path(tracking_uri)
    if database is not None and not database.is_file():
        raise UserError(f"no MLflow store {redact(tracking_uri)}: give the one that the study was written to")
    try:
        client = connect(tracking_uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        quoted = name.replace("'", "''")
        parents = [
            run
            for run in _search(client, experiments, f"tags.`study.name` = '{quoted}' and tags.`study.space` != ''")
            if "trial.number" not in run.data.tags  # only the parent says its space
        ]
        if not parents:
            raise UserError(f"no study {name!r} in MLflow at {redact(tracking_uri)}")
        parent = max(parents, key=lambda run: run.info.start_time)
        condition = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
        children = [
            run
            for run in _search(client, [parent.info.experiment_id], condition)
            if run.data.tags.get("trial.number", "").isdecimal()
        ]
        study = _study(client, parent)
        if tracking_uri.startswith(REMOTE):
            points = _points_by_call(client, children)
        else:
            points = _points_by_query(tracking_uri, children)
    except UserError:
        raise
    except Exception as error:  # MLflow, SQLAlchemy, requests and the file system each have their own
        raise UserError(f"MLflow at {redact(tracking_uri)} cannot be read: {one_line(error)}") from error
    numbers = {run.info.run_id: int(run.data.tags["trial.number"]) for run in children}
    sources = functools.partial(_fetch_arrays, client, {number: run for run, number in numbers.items()})
    return build_frames(
        {**study, "outcome": parent.data.tags.get("study.outcome", study.get("outcome"))},
        [_record(run) for run in children],
        _epochs(points, numbers),
        {str(study.get("name", name)): sources},
    )


def run_links(tracking_uri: str, study: Mapping[str, Any], local_server: str) -> dict[int, str]:
    """Trial number -> address of its run's page; empty where the store does not know the study or cannot be read.

    Args:
        tracking_uri: A store or server.
        study: What `study.json` says.
        local_server: Address at which a SQL store is served.
    """
    database = sqlite_path(tracking_uri)
    if database is not None and not database.is_file():
        return {}
    try:
        if tracking_uri.startswith(REMOTE):
            client = connect(tracking_uri)
            everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
            condition = f"tags.`study.id` = '{study.get('id')}' and tags.`trial.number` != ''"
            runs = [
                (run.data.tags["trial.number"], run.info.experiment_id, run.info.run_id)
                for run in _search(client, everywhere, condition)
            ]
            server = redact(tracking_uri).replace("***@", "").rstrip("/")
        else:
            runs = _query(tracking_uri, _LINKS, {"study": str(study.get("id"))})
            server = local_server
    except Exception:  # links are a courtesy: a store that cannot be read costs nothing else
        return {}
    return {int(number): f"{server}/#/experiments/{experiment}/runs/{run}" for number, experiment, run in runs}


def _query(tracking_uri: str, statement: str, *parameters: dict[str, Any]) -> list[Any]:
    """The rows of a statement, executed once with each set of parameters; a list among them stands for its values."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(tracking_uri)
    rows: list[Any] = []
    try:
        with engine.connect() as connection:
            for values in parameters:
                lists = [name for name, value in values.items() if isinstance(value, list)]
                text = sqlalchemy.text(statement).bindparams(
                    *(sqlalchemy.bindparam(name, expanding=True) for name in lists)
                )
                result: Any = connection.execute(text, values)
                rows += result.cursor.fetchall()  # the driver's own tuples: SQLAlchemy's rows take twice as long
            return rows
    finally:
        engine.dispose()


def _search(client: MlflowClient, experiments: list[str], condition: str) -> Iterator[Run]:
    token: str | None = None
    while True:
        page = client.search_runs(experiments, condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _study(client: MlflowClient, parent: Run) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(parent.info.run_id, "study.json", folder)
        return json.loads(Path(path).read_text(encoding="utf-8"))


def _record(run: Run) -> dict[str, Any]:
    tags = run.data.tags
    replicate_of = tags.get("trial.replicate_of")
    return {
        **run.data.params,
        "number": int(tags["trial.number"]),
        "origin": tags.get("trial.origin", "search"),
        "outcome": tags.get("trial.outcome", "running"),
        "reason": tags.get("trial.reason"),
        "replicate_of": None if replicate_of is None else int(replicate_of),
    }


def _points_by_query(tracking_uri: str, children: list[Run]) -> Sequence[Point]:
    runs = [run.info.run_id for run in children]
    batches = [{"runs": runs[start : start + _RUNS]} for start in range(0, len(runs), _RUNS)]
    return _query(tracking_uri, _HISTORY, *batches)


def _points_by_call(client: MlflowClient, children: list[Run]) -> Sequence[Point]:
    # What a trial measures once, at its last epoch, the run already holds as its newest value.
    once: list[Point] = [
        (run.info.run_id, key, int(run.data.metrics["epoch"]), value, False, 0)
        for run in children
        for key, value in run.data.metrics.items()
        if key.startswith(ONCE) and "epoch" in run.data.metrics
    ]
    wanted = [(run.info.run_id, key) for run in children for key in run.data.metrics if _kept(key)]
    wanted = [(run, key) for run, key in wanted if not key.startswith(ONCE)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        histories = pool.map(lambda pair: client.get_metric_history(*pair), wanted)
        several = [
            (run, key, metric.step, metric.value, metric.value != metric.value, metric.timestamp)
            for (run, key), history in zip(wanted, histories, strict=True)
            for metric in history
        ]
    return once + several


def _kept(key: str) -> bool:
    return key == "epoch" or key in TIMES or key.startswith(METRIC_PREFIXES)


def _epochs(points: Sequence[Point], numbers: dict[str, int]) -> pd.DataFrame:
    """One row per run and step that was logged as an epoch, with the time it was logged for.

    A million points go through here, so whole columns are worked on at once.
    """
    if not points:
        return pd.DataFrame()
    runs, keys, steps, values, are_nan, times = zip(*points, strict=True)
    run, run_ids = _codes(runs)
    key, names = _codes(keys)
    step, time = np.array(steps, dtype=np.int64), np.array(times, dtype=np.int64)
    value = np.where(np.array(are_nan, dtype=bool), np.nan, np.array(values, dtype=np.float64))
    cells, row = np.unique(run * (step.max() + 1) + step, return_inverse=True)
    table = np.full((len(cells), len(names)), np.nan)
    order = np.argsort(time, kind="stable")  # of a point logged twice the newer one counts
    table[row[order], key[order]] = value[order]
    epochs: Any = pd.DataFrame(table, columns=names)[[name for name in names if _kept(name)]]
    is_epoch = key == names.index("epoch") if "epoch" in names else np.zeros(len(key), dtype=bool)
    epochs["time"] = np.nan
    epochs.loc[row[is_epoch], "time"] = time[is_epoch] / 1000
    epochs["number"] = [numbers.get(run_ids[index], -1) for index in cells // (step.max() + 1)]
    return epochs[epochs["time"].notna() & (epochs["number"] >= 0)]


def _codes(words: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Each word as a number, and the words by number."""
    codes, distinct = pd.factorize(np.array(words, dtype=object))
    return codes, [str(word) for word in distinct]


def _fetch_arrays(client: MlflowClient, runs: dict[int, str], number: int) -> Arrays | None:
    from mlflow.exceptions import MlflowException

    if number not in runs:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            return read_arrays(Path(client.download_artifacts(runs[number], ARRAYS, folder)))
        except (MlflowException, OSError):  # a trial that did not end has none
            return None
