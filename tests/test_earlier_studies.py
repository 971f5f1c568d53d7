"""Studies that earlier commits recorded: today's code reads them all, and continues those it would measure alike.

`tests/fixtures/make_study.py` made them: with the first commit that had a command, version 0.1, the first tested
feature networks, the first components of a space's own, and the commit before this test.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import study
from study.cli import command_status
from study.config import PARAMS
from study.data.datasets import ImageData
from study.status import main as status
from study.sync import main as sync
from study.tracking.reader import load_from_mlflow
from tests.fixtures.make_study import SPACES, STUDIES
from tests.test_run import study_run

ARCHIVES = sorted(path.name.removesuffix(".tar.xz") for path in STUDIES.glob("*.tar.xz"))


def _unpacked(archive: str, folder: Path) -> study.Study:
    with tarfile.open(STUDIES / f"{archive}.tar.xz") as tar:
        tar.extractall(folder / "runs", filter="data")
    return study.load_study(folder / "runs" / archive.partition("-")[2])


def _lines(found: study.Study, number: int) -> list[dict[str, Any]]:
    path = found.directory / "trials" / f"{number:04d}" / "attempt-1" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("archive", ARCHIVES)
def test_its_tables_hold_what_was_recorded(archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _unpacked(archive, tmp_path)
    trials: Any = found.trials
    assert len(trials) == 3 and set(trials["outcome"]) <= {"completed", "stopped"}
    assert trials[[*PARAMS]].notna().all(axis=None)  # a parameter that was added since has its default
    for _, trial in trials.iterrows():
        last = _lines(found, trial["number"])[-1]
        for name in ("val/reconstruction_mse", "val/sample_fid"):
            assert trial[name] == last[name]
    assert found.recommended is not None
    assert command_status(status, ["--study", found.name, "--runs-dir", str(found.directory.parent)]) == 0
    assert "completed" in capsys.readouterr().out


@pytest.mark.parametrize("archive", ARCHIVES)
def test_its_model_samples_and_is_exported(archive: str, tmp_path: Path, digits: ImageData) -> None:
    found = _unpacked(archive, tmp_path)
    model = found.model("knee")
    x = digits.validation.images.float() / 255
    error = float((model.reconstruct(x) - x).square().mean())
    assert found.recommended is not None
    assert error == pytest.approx(found.recommended["val/reconstruction_mse"], rel=1e-4)
    assert found.sample(9).size[0] > 8

    path = found.export(tmp_path / "model") / "model.py"
    spec = importlib.util.spec_from_file_location("earlier_model", path)
    assert spec is not None and spec.loader is not None
    exported = sys.modules["earlier_model"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(exported)
        again = exported.load().sample(5, torch.Generator().manual_seed(1))
    finally:
        del sys.modules["earlier_model"]
    np.testing.assert_allclose(again, model.sample(5, torch.Generator().manual_seed(1)), atol=1e-6)


@pytest.mark.parametrize("archive", ARCHIVES)
def test_its_report_is_written_and_mlflow_gets_it(archive: str, tmp_path: Path) -> None:
    found = _unpacked(archive, tmp_path)
    page = found.report(tmp_path / "report")
    assert {"tradeoff.png", "samples.png", "learning_curves.png"} <= {file.name for file in page.parent.iterdir()}
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    options = ["--study", found.name, "--runs-dir", str(found.directory.parent), "--tracking-uri", uri]
    assert command_status(sync, options) == 0
    stored: Any = load_from_mlflow(uri, found.name).trials
    columns = ["number", "outcome", "method", *PARAMS, "val/sample_fid"]
    expected: Any = found.trials
    pd.testing.assert_frame_equal(stored[columns], expected[columns])


def _resume(found: study.Study, folder: Path, *options: object) -> int:
    for name, text in SPACES[found.name].items():
        (folder / name).write_text(text)
    place = ["--space", folder / f"{found.name}.py", "--study", found.name, "--runs-dir", found.directory.parent]
    return study_run(*place, "--resume", *options)


@pytest.mark.parametrize("archive", ["b193700-plain", "2f57de6-own", "f27891f-own"])
def test_a_study_measured_as_today_resumes(archive: str, tmp_path: Path, ray_session: None) -> None:
    found = _unpacked(archive, tmp_path)
    assert _resume(found, tmp_path, "--num-trials", 4) == 0
    trials: Any = study.load_study(found.directory).trials
    recorded = [*PARAMS, *found.record.described.parameters, "outcome", "val/sample_fid"]
    before: Any = found.trials
    pd.testing.assert_frame_equal(trials[:3][recorded], before[recorded])
    assert len(trials) == 4 and trials["val/sample_fid"].notna().all() and trials["method"].nunique() == 1


@pytest.mark.parametrize("archive", ["633822f-plain", "49f73ec-plain"])
def test_a_study_measured_otherwise_does_not_resume(
    archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _unpacked(archive, tmp_path)
    assert _resume(found, tmp_path, "--num-trials", 4) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "was measured with another feature network" in line
    assert len(study.load_study(found.directory).trials) == 3
