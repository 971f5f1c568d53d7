"""The trials that run: what they are, how far they are, and when they last reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.disk.following import Followed
from study.disk.study_json import read_study
from study.results.following import last_epochs
from study.watching.running import Running, running_trials
from tests.helpers_study import make_study, study_record

NOW = 1.79e9 + 300


def read(study: Path) -> list[Running]:
    followed, record = Followed(study), read_study(study)
    assert record is not None
    followed.read()
    return running_trials(followed, last_epochs(followed, record), NOW)


def test_a_running_trial(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=24)
    [trial] = read(study)
    content = json.loads((study / "trials" / "0023" / "trial.json").read_text())["params"]
    assert (trial.number, trial.epochs, trial.planned) == (23, 4, 12)
    assert trial.silent == pytest.approx(300 - 230.4, abs=0.01)
    rows = [json.loads(line) for line in (study / "trials/0023/attempt-1/metrics.jsonl").read_text().splitlines()]
    assert trial.values == {name: rows[3][name] for name in study_record()["objectives"]}
    words = trial.what.split()
    assert f"d={content['latent_dim']}" in words and f"w={content['weight']:.3g}" in words
    assert not any(word.startswith(("encoder", "regularizer", "network", "epochs", "seed")) for word in words)


def test_before_its_first_epoch_and_before_its_first_measurement(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=24)
    metrics = study / "trials/0023/attempt-1/metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:2]))  # the third epoch is the first to be measured
    [trial] = read(study)
    assert trial.epochs == 2 and trial.values == {} and trial.silent is not None
    metrics.unlink()
    [trial] = read(study)
    assert trial.epochs == 0 and trial.values == {} and trial.silent is None


def test_a_clock_that_is_behind(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=24)
    metrics = study / "trials/0023/attempt-1/metrics.jsonl"
    metrics.write_text(json.dumps({"epoch": 1, "time": NOW + 50}) + "\n")
    assert read(study)[0].silent == 0.0


def test_no_trial_runs(tmp_path: Path) -> None:
    assert read(make_study(tmp_path, trials=0)) == []
    assert read(make_study(tmp_path, "whole", mixed=False)) == []
