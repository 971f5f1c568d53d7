"""Trials are followed as they grow: what is read step by step is what one reading of the whole gives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from study.disk.following import Followed
from tests.helpers_study import make_study


def append(folder: Path, epoch: int, end: str = "\n") -> None:
    with (folder / "attempt-1" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": epoch, "time": 2e9 + epoch, "train/loss": 1.0 / epoch}) + end)


def test_a_trial_that_grows_and_ends(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=3, epochs=4)
    folder = study / "trials" / "0002"
    (folder / "outcome.json").rename(tmp_path / "later")
    followed = Followed(study)
    assert followed.read() and not followed.read()
    trial = followed.trials[2]
    assert trial.outcome is None and list(trial.epochs) == [1, 2, 3, 4] and trial.planned == 4
    append(folder, 5)
    append(folder, 6, end="")
    assert followed.read() and list(trial.epochs) == [1, 2, 3, 4, 5, 6]
    assert trial.epochs[6]["train/loss"] == 1 / 6
    (tmp_path / "later").rename(folder / "outcome.json")
    assert followed.read() and trial.outcome is not None
    assert list(trial.epochs) == [1, 2, 3, 4]  # the outcome says that it ended after four
    append(folder, 7)  # an orphaned process
    assert not followed.read() and list(trial.epochs) == [1, 2, 3, 4]


def test_trials_appear_and_are_set_aside(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=3)
    (study / "trials" / "0001").rename(tmp_path / "0001")
    (study / "trials" / "0001").mkdir()  # a driver that died made the folder and no file
    followed = Followed(study)
    followed.read()
    assert list(followed.trials) == [0, 2] and not followed.read()
    (study / "trials" / "0001").rmdir()
    (tmp_path / "0001").rename(study / "trials" / "0001")
    assert followed.read() and list(followed.trials) == [0, 1, 2]
    shutil.move(study / "trials", study / "before-1")
    assert followed.read() and not followed.trials


def test_a_study_without_trials_or_with_damaged_ones(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=0)
    assert not Followed(study).read()
    study = make_study(tmp_path, "damaged", trials=2)
    (study / "trials" / "0000" / "trial.json").write_text("{")
    (study / "trials" / "0001" / "trial.json").write_text('{"params": {"epochs": "many"}}')
    followed = Followed(study)
    assert followed.read() and list(followed.trials) == [1] and followed.trials[1].planned > 0
