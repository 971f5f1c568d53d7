from __future__ import annotations

import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from analysis.plotting.command import load
from analysis.reporting.page import trial_links, write_report
from study.config import UserError
from study.results.frame import StudyFrames, load_study
from study.tracking import reader as frame_mlflow
from study.tracking import sync_study
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


@pytest.mark.parametrize("at_once", [100, 7])  # runs that one statement asks for
def test_mlflow_gives_the_frames_of_the_directory(
    runs: Path, uri: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_mlflow, "_RUNS", at_once)
    on_disk, mirrored = load_study(runs, "toy"), load_from_mlflow(uri, "toy")
    assert_same(on_disk, mirrored)
    for row in (0, 6):  # completed with arrays, stopped without
        here, there = on_disk.arrays(row), mirrored.arrays(row)
        assert (here is None) == (there is None) == (row == 6)
        assert here is None or there is None or all((here[name] == there[name]).all() for name in here)


def test_a_server_gives_the_same_frames(runs: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def by_call(tracking_uri: str, children: list) -> list:
        asked.append(len(children))
        return list(frame_mlflow._points_by_call(connect(tracking_uri), children))

    monkeypatch.setattr(frame_mlflow, "_points_by_query", by_call)
    assert_same(load_study(runs, "toy"), load_from_mlflow(uri, "toy"))
    assert asked == [len(load_study(runs, "toy").trials)]


def test_the_directory_is_read_where_it_is_at_hand(
    runs: Path, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(["toy"], runs).sources["toy"].func is not frame_mlflow._fetch_arrays  # pyright: ignore
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
    assert run_links(uri, {"id": "other"}, "http://x") == {}
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
    with pytest.raises(UserError, match="cannot be read"):
        load_from_mlflow(sqlite_uri(tmp_path / "broken.db"), "toy")
    with pytest.raises(UserError, match="tracking URI"):
        load_from_mlflow("runs/mlflow", "toy")


def test_points_of_half_an_epoch_do_not_make_a_row(runs: Path, uri: str, tmp_path: Path) -> None:
    copy = tmp_path / "mlflow.db"
    with sqlite3.connect(copy) as to, sqlite3.connect(runs / "mlflow.db") as source:
        source.backup(to)
        run = to.execute("select run_uuid from tags where key = 'trial.number' and value = '0'").fetchone()[0]
        to.execute("insert into metrics values ('train/loss', 1.0, 5, ?, 99, 0)", (run,))
        to.commit()
    to.close()
    source.close()
    assert_same(load_study(runs, "toy"), load_from_mlflow(sqlite_uri(copy), "toy"))
