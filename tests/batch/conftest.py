"""Slurm's commands for tests that have no Slurm: they write down how they were called, and answer what a test says."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.batch.fake_slurm import FakeSlurm


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeSlurm]:
    """Puts `sbatch`, `squeue` and `scancel` onto the PATH."""
    return functools.partial(FakeSlurm, tmp_path / "slurm-programs", monkeypatch)
