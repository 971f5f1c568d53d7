from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from study.tracking.store import connect, sqlite_uri


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(sqlite_uri(path))
    return path


@pytest.fixture
def runs(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs directory with a fresh store in it, made by copying: creating one takes seconds."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    directory = tmp_path / "runs"
    directory.mkdir()
    shutil.copy(empty_store, directory / "mlflow.db")
    return directory


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Ids of the runs whose epochs MLflow was asked for one metric at a time."""
    from mlflow import MlflowClient

    found: set[str] = set()
    original = MlflowClient.get_metric_history

    def get_metric_history(self: MlflowClient, run_id: str, key: str) -> Any:
        found.add(run_id)
        return original(self, run_id, key)

    monkeypatch.setattr(MlflowClient, "get_metric_history", get_metric_history)
    return found
