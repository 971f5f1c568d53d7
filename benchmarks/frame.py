"""Measures the time to read a study of 1,000 runs, 50 epochs and 20 metrics into one table.

    python -m benchmarks.frame

Reads it from the study's folder, and from MLflow on SQLite, on PostgreSQL (if its programs are installed) and behind an
HTTP server. In MLflow all epochs are in one artifact. For comparison the artifact is taken away, as if an earlier
version had written the study: each metric of each run is then a call. The last comparison is MLflow's own way,
`mlflow.search_runs` and one `get_metric_history` per run and metric. What takes minutes is measured on 20 runs and
multiplied, as its row says. Every table is compared with what was written.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import sqlalchemy
import typer

from benchmarks.postgresql import postgresql, programs
from benchmarks.rows import Row, print_rows
from benchmarks.servers import mlflow_server
from benchmarks.tracking import seconds, write_study
from study.cli import run_command
from study.results.frame import StudyFrames, load_study
from study.tracking import sync_study
from study.tracking.history import HISTORY
from study.tracking.reader import load_from_mlflow
from study.tracking.store import connect, sqlite_uri

EPOCHS, METRICS = 50, 20
SAMPLE = 20
MOST_SECONDS = 5
STUDY, SMALL = "study", "sample"


def fill(uri: str, database: str, runs: Path) -> None:
    """Puts the study into a store, whose tables are in `database`.

    A million points through MLflow's interface take minutes. So the mirror writes the first trial, the other runs are
    copies of its rows with their own numbers and values, and the mirror then adds the artifact.
    """
    with tempfile.TemporaryDirectory(dir=runs) as first:
        shutil.copy(runs / STUDY / "study.json", first)
        shutil.copytree(runs / STUDY / "trials" / "0000", Path(first) / "trials" / "0000")
        sync_study(Path(first), uri)
    history = load_study(runs, STUDY).history.set_index(["number", "epoch"])
    names = [name for name in history if name.startswith("val/")]
    values: dict[Any, list[list[float]]] = {
        number: rows[names].to_numpy().tolist() for number, rows in history.groupby(level="number")
    }
    column = {name: index for index, name in enumerate(names)}
    engine = sqlalchemy.create_engine(database)
    schema = sqlalchemy.MetaData()
    with engine.begin() as connection:
        tables = {
            name: sqlalchemy.Table(name, schema, autoload_with=connection)
            for name in ("runs", "params", "tags", "metrics", "latest_metrics")
        }
        tags = tables["tags"]
        first = connection.execute(sqlalchemy.select(tags.c.run_uuid).where(tags.c.key == "trial.number")).scalar_one()
        for table in tables.values():
            rows: list[dict[str, Any]] = []
            found = connection.execute(sqlalchemy.select(table).where(table.c.run_uuid == first)).mappings().all()
            for number in sorted(values)[1:]:
                run = uuid.uuid5(uuid.NAMESPACE_OID, str(number)).hex
                for row in found:
                    changed = {**row, "run_uuid": run}
                    if row.get("key") == "trial.number":
                        changed["value"] = str(number)
                    elif row.get("key") in column:
                        changed["value"] = values[number][row["step"] - 1][column[row["key"]]]
                    rows.append(changed)
            connection.execute(table.insert(), rows)
    engine.dispose()
    report = sync_study(runs / STUDY, uri)
    if report.created or report.epochs:
        raise AssertionError(f"the store did not hold the study: {report}")


def one_by_one(uri: str, at_most: int) -> None:
    """MLflow's own way: a table of the runs, then the history of each metric of each run."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    table: Any = mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.`study.name` = '{STUDY}'", max_results=2000
    )
    client = connect(uri)
    names = [name.removeprefix("metrics.") for name in table if name.startswith("metrics.")]
    for run in table["run_id"][table["tags.trial.number"].notna()][:at_most]:
        for name in names:
            client.get_metric_history(run, name)


def checked(load: Callable[[], StudyFrames], expected: StudyFrames) -> Callable[[], None]:
    """A load to be timed; it raises an error if the table is not what was written."""
    names = [name for name in expected.history if name.startswith("val/")]

    def call() -> None:
        found = load().history
        if len(found) != len(expected.history) or not np.array_equal(
            found[names].to_numpy(), expected.history[names].to_numpy()
        ):
            raise AssertionError("the table does not hold what was written")

    return call


@contextlib.contextmanager
def databases(scratch: Path) -> Iterator[dict[str, str]]:
    """Name -> URL of each database on this machine."""
    found = {"SQLite": sqlite_uri(scratch / "mlflow.db")}
    folder = programs()
    if folder is None:
        yield found
        return
    with postgresql(folder) as url:
        yield {**found, "PostgreSQL": url}


def measure(trials: int) -> list[Row]:
    """Writes the study and reads it back each way."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        runs, server_home = Path(scratch), Path(scratch) / "server"
        server_home.mkdir()
        with databases(runs) as found, mlflow_server(server_home) as server:
            stores = {name: (uri, uri) for name, uri in found.items()}
            stores["HTTP"] = (server.uri, sqlite_uri(server.database))
            write_study(runs / STUDY, trials, EPOCHS, METRICS)
            write_study(runs / SMALL, SAMPLE, EPOCHS, METRICS)
            whole, small = load_study(runs, STUDY), load_study(runs, SMALL)
            rows.append(Row("folder, s", seconds(lambda: load_study(runs, STUDY))))
            for name, (uri, database) in stores.items():
                fill(uri, database, runs)
                load = checked(lambda uri=uri: load_from_mlflow(uri, STUDY), whole)
                ours = min(seconds(load) for _ in range(2))
                rows.append(Row(f"{name}, s", ours, MOST_SECONDS, at_most=True))
                empty = seconds(lambda uri=uri: one_by_one(uri, 0))
                theirs = empty + (seconds(lambda uri=uri: one_by_one(uri, SAMPLE)) - empty) * trials / SAMPLE
                rows.append(Row(f"{name}, MLflow's own way, {trials / SAMPLE:g} x {SAMPLE} runs, s", theirs))
                rows.append(Row(f"{name}, MLflow's own way over ours", theirs / ours))
                sync_study(runs / SMALL, uri)
                for path in runs.rglob(HISTORY):
                    path.unlink()
                load = checked(lambda uri=uri: load_from_mlflow(uri, SMALL), small)
                without = seconds(load) * trials / SAMPLE
                rows.append(Row(f"{name}, without the artifact, {trials / SAMPLE:g} x {SAMPLE} runs, s", without))
    return rows


def main(
    trials: Annotated[int, typer.Option(min=1, help="Trials of the study.")] = 1000,
) -> int:
    """Prints the rows."""
    return print_rows(measure(trials))


if __name__ == "__main__":
    run_command(main)
