"""When the artifact with all epochs is written, and that it follows the runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from study.results.frame import load_study
from study.tracking import Mirror, history, sync_study
from study.tracking.reader import load_from_mlflow
from study.tracking.store import connect, sqlite_uri
from tests.helpers_study import make_study

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets an entry whenever the artifact is uploaded."""
    from mlflow import MlflowClient

    found: list[str] = []
    original = MlflowClient.log_artifact

    def log_artifact(self: MlflowClient, run_id: str, path: str, *args: Any) -> None:
        original(self, run_id, path, *args)
        if path.endswith(history.HISTORY):
            found.append(run_id)

    monkeypatch.setattr(MlflowClient, "log_artifact", log_artifact)
    return found


def assert_artifact_suffices(study: Path, asked: set[str]) -> None:
    asked.clear()
    here, there = load_study(study.parent, study.name), load_from_mlflow(sqlite_uri(study.parent / "mlflow.db"), "toy")
    pd.testing.assert_frame_equal(here.history, there.history)
    assert not asked


def grow(study: Path, first: int, last: int) -> None:
    """Adds epochs to trial 0, which still runs."""
    path = study / "trials/0000/attempt-1/metrics.jsonl"
    rows = [{"epoch": epoch, "time": 1.79e9 + epoch, "train/loss": 1 / epoch} for epoch in range(first, last + 1)]
    with path.open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def running_study(runs: Path) -> Path:
    study = make_study(runs, "toy", trials=3, epochs=3, mixed=False)
    (study / "trials/0000/outcome.json").unlink()
    (study / "trials/0000/attempt-1/metrics.jsonl").write_text("")
    grow(study, 1, 2)
    return study


def test_a_running_study_writes_it_only_when_it_is_due_and_something_is_new(
    tmp_path: Path, uploads: list[str], asked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = running_study(tmp_path)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(history, "time", SimpleNamespace(monotonic=lambda: clock.now))
    mirror = Mirror(study, sqlite_uri(tmp_path / "mlflow.db"))
    counts = []
    for step, clock.now in enumerate((0.0, 59.0, 60.0, 121.0, 122.0, 179.0, 182.0)):
        if step != 3:
            grow(study, 3 + step, 3 + step)
        mirror.sync()
        counts.append(len(uploads))
    assert counts == [0, 0, 1, 1, 2, 2, 3]
    assert_artifact_suffices(study, asked)
    mirror.sync("interrupted")
    assert len(uploads) == 4  # the trial's run has ended
    mirror.sync("interrupted")
    mirror.release()
    assert len(uploads) == 4


def test_a_full_disk_costs_the_artifact_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(tmp_path, trials=2)

    def log(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history.History, "log", log)
    report = sync_study(study, sqlite_uri(tmp_path / "mlflow.db"))
    assert report.trials == 2 and report.epochs > 0
    [problem] = report.problems
    assert history.HISTORY in problem and "No space left" in problem


def test_it_is_written_again_after_a_run_was_replaced(tmp_path: Path, uploads: list[str], asked: set[str]) -> None:
    study = running_study(tmp_path)
    uri = sqlite_uri(tmp_path / "mlflow.db")
    sync_study(study, uri)
    for _ in range(2):
        sync_study(study, uri)
    assert len(uploads) == 1
    (study / "trials/0000/attempt-2").mkdir()
    other = [{"epoch": epoch, "time": 1.8e9 + epoch, "train/loss": 7.0 + epoch} for epoch in (1, 2)]
    (study / "trials/0000/attempt-2/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in other))
    sync_study(study, uri)
    assert len(uploads) == 2
    assert_artifact_suffices(study, asked)


def test_a_study_of_an_earlier_version_gets_it_without_new_epochs(
    tmp_path: Path, uploads: list[str], asked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path, "toy", epochs=3)
    uri = sqlite_uri(tmp_path / "mlflow.db")
    with monkeypatch.context() as earlier:
        earlier.setattr(history.History, "log", lambda *args: None)
        sync_study(study, uri)
    load_from_mlflow(uri, "toy")
    assert asked and not uploads
    report = sync_study(study, uri)
    assert (report.created, report.epochs, len(uploads)) == (0, 0, 1)
    assert_artifact_suffices(study, asked)
    connect(uri).delete_tag(report.run_id, "study.history")  # its writer died between artifact and tag
    sync_study(study, uri)
    assert len(uploads) == 2
