from __future__ import annotations

from typing import Any

import pytest


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
