"""Tables of last epochs say of every trial what those of all epochs say, but for its times."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from study.disk.following import Followed
from study.disk.study_json import read_study
from study.results.following import last_epochs
from study.results.frame import TIMES, load_study
from tests.helpers_study import make_study


def test_the_trials_are_those_of_the_whole_study(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=24, replicates=1)
    study = read_study(directory)
    assert study is not None
    followed = Followed(directory)
    followed.read()
    frames, whole = last_epochs(followed, study), load_study(tmp_path, "toy")
    pd.testing.assert_frame_equal(frames.trials.drop(columns=[*TIMES]), whole.trials.drop(columns=[*TIMES]))
    assert frames.study == whole.study and len(frames.history) == len(frames.trials)


def test_without_any_trial(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    study = read_study(directory)
    assert study is not None
    frames = last_epochs(Followed(directory), study)
    assert list(frames.trials) == list(load_study(tmp_path, "toy").trials) and frames.trials.empty
