from __future__ import annotations

from pathlib import Path

import pytest

from analysis.reporting import second_opinion
from analysis.reporting.summary import summarise
from study.config import TrialConfig
from study.results.choice import choose
from study.results.frame import StudyFrames, load_study
from tests.helpers_study import make_study, write_trial

POINTS = [(0.010, 40.0), (0.012, 14.0), (0.030, 11.0), (0.040, 10.0), (0.050, 60.0)]


def study(tmp_path: Path, second: list[float | None]) -> StudyFrames:
    directory = make_study(tmp_path, trials=0)
    for number, ((mse, fid), other) in enumerate(zip(POINTS, second, strict=True)):
        row = {"val/reconstruction_mse": mse, "val/sample_fid": fid}
        row |= {} if other is None else {"val/second_fid": other}
        write_trial(directory, number, TrialConfig(latent_dim=number + 2), [{"epoch": 1, **row}])
    return load_study(tmp_path, "toy")


def test_a_second_network_that_agrees(tmp_path: Path) -> None:
    frames = study(tmp_path, [4.0, 1.4, 1.1, 1.0, 6.0])
    found = second_opinion.info(frames, choose(frames))
    assert found == (5, pytest.approx(1.0), 4, 4, choose(frames).recommended)
    [text] = second_opinion.sentences(frames, choose(frames))
    assert text.endswith("keeps 4 of the front's 4, and recommends the same trial.") and "agrees" in text
    assert text in summarise(frames).sentences


def test_a_second_network_that_disagrees_names_the_other_trial(tmp_path: Path) -> None:
    frames = study(tmp_path, [4.0, 5.0, 0.3, 1.0, 6.0])
    found = second_opinion.info(frames, choose(frames))
    assert found is not None
    # ranks 4 3 2 1 5 and 3 4 1 2 5: squared differences 1 + 1 + 1 + 1 + 0, so 1 - 6 * 4 / (5 * 24)
    assert found.correlation == pytest.approx(0.8)
    assert (found.front, found.kept, found.recommended) == (4, 2, 2)
    [text] = second_opinion.sentences(frames, choose(frames))
    assert "agrees in part" in text and "recommends trial 2 instead" in text


def test_without_a_second_score_nothing_is_said(tmp_path: Path) -> None:
    frames = study(tmp_path, [4.0, 1.4, None, None, None])
    assert second_opinion.sentences(frames, choose(frames)) == []
