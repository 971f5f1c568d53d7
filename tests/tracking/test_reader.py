from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from analysis.plotting.command import load
from analysis.reporting.page import trial_links, write_report
from study.config import UserError
from study.results.frame import StudyFrames, load_study
from study.tracking import Mirror, reader, sync_study
from study.tracking.history import HISTORY
from study.tracking.reader import load_from_mlflow, run_links
from study.tracking.store import connect, sqlite_uri
from tests.helpers_study import make_study


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    make_study(directory, "toy", epochs=6, replicates=1, arrays=True)
    sync_study(directory / "toy", sqlite_uri(directory / "mlflow.db"))
    return directory


@pytest.fixture(scope="module")
def uri(runs: Path) -> str:
    return sqlite_uri(runs / "mlflow.db")


def assert_same(first: StudyFrames, second: StudyFrames) -> None:
    pd.testing.assert_frame_equal(first.trials, second.trials)
    pd.testing.assert_frame_equal(first.history, second.history)
    assert first.study == second.study


def artifact(uri: str) -> Path:
    """The artifact with the epochs of the study `toy`."""
    client = connect(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    parent = client.search_runs(experiments, "tags.`study.space` != ''")[0]
    return Path(str(parent.info.artifact_uri).removeprefix("file://")) / HISTORY


def test_mlflow_gives_the_frames_of_the_folder(runs: Path, uri: str, asked: set[str]) -> None:
    on_disk, mirrored = load_study(runs, "toy"), load_from_mlflow(uri, "toy")
    assert not asked
    assert_same(on_disk, mirrored)
    for row in (0, 6):  # completed with arrays, stopped without
        here, there = on_disk.arrays(row), mirrored.arrays(row)
        assert (here is None) == (there is None) == (row == 6)
        assert here is None or there is None or all((here[name] == there[name]).all() for name in here)


@pytest.mark.parametrize("length", [None, 0, 2000, 4000])
def test_a_study_without_its_artifact_or_with_a_torn_one_is_read_run_by_run(
    runs: Path, uri: str, asked: set[str], length: int | None
) -> None:
    path = artifact(uri)
    content = path.read_bytes()
    assert len(content) > 4000
    path.unlink()
    try:
        if length is not None:
            path.write_bytes(content[:length])
        assert_same(load_study(runs, "toy"), load_from_mlflow(uri, "toy"))
    finally:
        path.write_bytes(content)
    count = len(load_study(runs, "toy").trials)
    assert 0 < len(asked) < count if length else len(asked) == count


@pytest.mark.parametrize("line", ["[]", "{}", '{"run": 1}', '{"run": "x", "epoch": "3"}', "no JSON", "[" * 100_000])
def test_a_line_of_the_artifact_that_is_no_epoch_does_no_harm(runs: Path, uri: str, line: str) -> None:
    path = artifact(uri)
    content = path.read_bytes()
    path.write_bytes(gzip.compress(f"{line}\n".encode()) + content)
    try:
        assert_same(load_study(runs, "toy"), load_from_mlflow(uri, "toy"))
    finally:
        path.write_bytes(content)


def test_pandas_reads_the_artifact(runs: Path, uri: str) -> None:
    table = pd.read_json(artifact(uri), lines=True)
    history = load_study(runs, "toy").history
    assert table[["number", "epoch"]].to_numpy().tolist() == history[["number", "epoch"]].to_numpy().tolist()


def test_a_run_ahead_of_the_artifact_is_asked_for_its_epochs(tmp_path: Path, asked: set[str]) -> None:
    study = make_study(tmp_path, "toy", trials=3, epochs=4, mixed=False)
    uri = sqlite_uri(tmp_path / "mlflow.db")
    metrics, outcome = study / "trials/0001/attempt-1/metrics.jsonl", study / "trials/0001/outcome.json"
    whole, end = metrics.read_text(), outcome.read_text()
    metrics.write_text("".join(whole.splitlines(keepends=True)[:2]))
    outcome.unlink()
    sync_study(study, uri)
    metrics.write_text(whole)
    outcome.write_text(end)
    mirror = Mirror(study, uri)
    mirror.sync()  # as while the study runs: the artifact is not due
    mirror.release()
    on_disk, mirrored = load_study(tmp_path, "toy"), load_from_mlflow(uri, "toy")
    pd.testing.assert_frame_equal(on_disk.trials, mirrored.trials)
    pd.testing.assert_frame_equal(on_disk.history, mirrored.history)
    assert len(asked) == 1
    sync_study(study, uri)
    asked.clear()
    assert_same(load_study(tmp_path, "toy"), load_from_mlflow(uri, "toy"))
    assert not asked


def test_the_directory_is_read_where_it_is_at_hand(
    runs: Path, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(["toy"], runs).sources["toy"].func is not reader._fetch_arrays  # pyright: ignore
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert_same(load(["toy"], runs), load(["toy"], tmp_path))
    assert_same(load(["toy"], runs), load(["toy"], runs, uri))


def test_links_lead_to_the_runs(runs: Path, uri: str, tmp_path: Path) -> None:
    frames = load_study(runs, "toy")
    links = trial_links(frames, uri)
    assert set(links) == set(frames.labels())
    run = connect(uri).get_run(links["3"].rpartition("/")[2])
    assert run.data.tags["trial.number"] == "3"
    assert links["3"] == f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    page, *_ = write_report(frames.keep(frames.column("number") < 4), tmp_path, uri)
    assert f'<a href="{links["3"]}">3</a>' in page.read_text()
    assert run_links(uri, frames.study.replace(id="other"), "http://x") == {}
    assert run_links(sqlite_uri(tmp_path / "none.db"), frames.study, "http://x") == {}
    assert not (tmp_path / "none.db").exists()


def test_what_cannot_be_read_is_said_in_one_line(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no study 'nope' in MLflow"):
        load_from_mlflow(uri, "nope")
    with pytest.raises(UserError, match="it's"):
        load_from_mlflow(uri, "it's")
    with pytest.raises(UserError, match="no MLflow store"):
        load_from_mlflow(sqlite_uri(tmp_path / "none.db"), "toy")
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "broken.db").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="is not a SQLite database: restore it from a backup"):
        load_from_mlflow(sqlite_uri(tmp_path / "broken.db"), "toy")
    with pytest.raises(UserError, match="tracking URI"):
        load_from_mlflow("runs/mlflow", "toy")


def test_points_of_half_an_epoch_do_not_make_a_row(
    runs: Path, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "read_history", lambda client, parent_id: {})
    copy = tmp_path / "mlflow.db"
    with sqlite3.connect(copy) as to, sqlite3.connect(runs / "mlflow.db") as source:
        source.backup(to)
        run = to.execute("select run_uuid from tags where key = 'trial.number' and value = '0'").fetchone()[0]
        to.execute("insert into metrics values ('train/loss', 1.0, 5, ?, 99, 0)", (run,))
        to.commit()
    to.close()
    source.close()
    assert_same(load_study(runs, "toy"), load_from_mlflow(sqlite_uri(copy), "toy"))
