"""Studies from Python: objects for spaces and data, errors as exceptions, and a process that is as it was."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import study
from study import api
from study.config import DataSummary
from study.data.datasets import ImageData
from study.disk.study_json import parse_study
from study.launch import Options
from study.session.resuming import resume_command
from study.session.session import SessionResult
from tests.helpers_study import make_study, study_record

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "first_study.py"


def suggest(trial, data: DataSummary):
    return {"weight": trial.suggest_float("weight", *study.weight_range(data, "kl"), log=True)}


def vae(**changes) -> study.SearchSpace:
    base = {"encoder": "gaussian", "regularizer": "kl", "latent_dim": 2, "width": 16}
    return study.SearchSpace(question="?", suggest=suggest, base=base, **changes)


def named(data: ImageData, name: str) -> ImageData:
    summary = dataclasses.replace(data.summary, name=name, hash="0a" * 32)
    return dataclasses.replace(data, name=name, summary=summary)


def test_import_is_light() -> None:
    code = (
        "import sys, study; study.run_study, study.load_study\n"
        "heavy = 'torch ray mlflow matplotlib optuna pandas pydantic typer rich'.split()\n"
        "print(sorted(set(heavy) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("ray_session")
def test_a_study_of_objects_runs_is_quiet_and_resumes(tmp_path: Path, few_digits: ImageData, capsys) -> None:
    data = named(few_digits, "mine")
    asked = {"data": data, "epochs": 2, "runs_dir": tmp_path, "scheduler": "none", "progress": False}
    found = study.run_study(vae(), num_trials=2, **asked)
    assert found.directory == tmp_path / "test_api-mine" and found.record.data.name == "mine"
    assert set(found.trials["outcome"]) == {"completed"} and len(found.trials) == 2
    assert capsys.readouterr().out == ""
    assert str(found.record.command).startswith(
        "study.run_study(space, data=data, num_trials=2, epochs=2, scheduler='none'"
    )
    assert resume_command(found.record, tmp_path) == (
        f"study.run_study(space, data=data, name='test_api-mine', runs_dir='{tmp_path}', resume=True)"
    )

    with pytest.raises(study.UserError, match=r"study 'test_api-mine' exists in .*: add --resume to continue it"):
        study.run_study(vae(), **asked)
    with pytest.raises(study.UserError, match="has changed since study 'test_api-mine' began"):
        study.run_study(dataclasses.replace(vae(), base={**vae().base, "latent_dim": 4}), resume=True, **asked)
    with pytest.raises(study.UserError, match="the data of mine have changed"):
        changed = dataclasses.replace(data, summary=dataclasses.replace(data.summary, hash="0b" * 32))
        study.run_study(vae(), resume=True, **{**asked, "data": changed})

    more = study.run_study(vae(num_trials=99), num_trials=3, resume=True, **{**asked, "progress": True})
    assert len(more.trials) == 3 and "3/3 trials" in capsys.readouterr().out
    pd.testing.assert_frame_equal(more.trials.iloc[:2], found.trials)


@pytest.mark.usefixtures("ray_session")
def test_a_study_without_a_result_raises_the_first_failure(tmp_path: Path, few_digits: ImageData) -> None:
    space = dataclasses.replace(vae(), base={**vae().base, "learning_rate": 1e30})
    options = {"name": "bad", "num_trials": 1, "epochs": 2, "runs_dir": tmp_path, "progress": False}
    with pytest.raises(study.UserError, match="1 trials failed; the first, trial 0: "):
        study.run_study(space, data=few_digits, **options)


@pytest.mark.parametrize(
    ("outcome", "disk_error", "raised"),
    [
        ("interrupted", None, pytest.raises(KeyboardInterrupt)),
        ("stopped", "no space left", pytest.raises(study.UserError, match="no space left: make room")),
        ("failed", None, pytest.raises(study.UserError, match="trials failed; the first, trial")),
        ("stopped", None, contextlib.nullcontext()),
    ],
)
def test_how_a_session_ended_is_raised(tmp_path: Path, monkeypatch, outcome, disk_error, raised) -> None:
    make_study(tmp_path, "a", trials=12)
    monkeypatch.setattr(api, "launch", lambda *_: (SessionResult(outcome, (), disk_error), tmp_path / "a"))
    with raised:
        assert study.run_study("wae_weight").name == "a"


def test_a_preview_is_the_table_of_the_dry_run(tmp_path: Path) -> None:
    shown = study.preview_study(vae(), num_trials=3, seed=5, runs_dir=str(tmp_path / "runs"))
    assert len(shown) == 3
    assert set(shown["seed"]) == {5} and set(shown["method"]) == {"VAE"}
    assert len(set(shown["weight"])) == 3
    assert not (tmp_path / "runs").exists()
    with pytest.raises(study.UserError, match="no option epoch: choose from address"):
        study.preview_study(vae(), epoch=3)


def test_the_recorded_call_holds_no_password() -> None:
    options = Options(
        space="wae_weight", storage="postgresql://u:secret@h/d", tracking_uri="http://u:secret@h", runs_dir=Path("r")
    )
    assert api._call(options) == "study.run_study('wae_weight', runs_dir='r')"


@pytest.mark.parametrize(
    ("command", "python"),
    [
        ("study.run_study(space, num_trials=3)", True),
        ("study.run_study('wae_weight', data=data)", True),
        ("study.run_study('wae_weight', data='mnist')", False),
        ("python -m study.run --space wae_weight", False),
        (None, False),
    ],
)
def test_a_study_of_objects_is_resumed_by_a_call(command: str | None, python: bool) -> None:
    record = parse_study(study_record("b", command=command), "study.json")
    assert resume_command(record, Path("runs")).startswith("study.run_study(" if python else "python -m study.run ")


STATE = f"""
import gc, json, os, runpy, signal, sys
import matplotlib, torch

def state():
    return {{
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "folder": os.getcwd(), "path": list(sys.path), "environment": dict(os.environ), "hook": str(sys.excepthook),
        "threads": torch.get_num_threads(), "frozen": gc.get_freeze_count(),
        "matplotlib": str(dict(matplotlib.rcParams)),
        "children": open(f"/proc/self/task/{{os.getpid()}}/children").read(),
        "backend": str(dict.__getitem__(matplotlib.rcParams, "backend")),
    }}

before = state()
runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
after = state()
import study
again = study.run_study("wae_weight", num_trials=2, epochs=2, progress=False)
print(json.dumps([before, after, state(), len(again.trials), sorted(os.listdir("."))]))
"""


def test_the_example_and_a_second_study_leave_the_process_as_it_was(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", STATE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after, last, trials, files = json.loads(done.stdout.splitlines()[-1])
    assert before == after == last and before["children"] == ""
    assert trials == 2 and "recommended: trial" in done.stdout
    assert {"tradeoff.png", "samples.png", "model", "runs"} <= set(files)
