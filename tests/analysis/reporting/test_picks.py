"""The recommended trials in words."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from analysis.reporting import ending, picks
from study.config import TrialConfig
from study.results.choice import choose
from study.results.frame import StudyFrames, load_study
from tests.helpers_study import make_study, write_trial

UNKNOWN = (float("nan"), float("nan"))


def study(tmp_path: Path, points: list[tuple[float, ...]], **changes: Any) -> StudyFrames:
    """A study of trials with these reconstruction errors, FIDs and, if given, coverages."""
    directory = make_study(tmp_path, trials=0, **changes)
    for number, point in enumerate(points):
        row = dict(zip(("val/reconstruction_mse", "val/sample_fid", "val/coverage"), point, strict=False))
        write_trial(directory, number, TrialConfig(latent_dim=number + 2), [{"epoch": 1, **row}])
    return load_study(tmp_path, "toy")


def test_a_shallow_front_is_said_to_have_no_clear_knee(tmp_path: Path) -> None:
    frames = study(tmp_path, [(0.010, 40.0), (0.020, 19.0), (0.040, 10.0)])
    [text] = picks.certainty(frames, choose(frames), UNKNOWN)
    # log 2 / log 4 and log 1.9 / log 4
    assert text.startswith("This front has no clear knee (its deepest point lies 0.04 below the straight line")
    assert "The compromise would be another trial in" in text
    assert picks.all_picks(frames, choose(frames))[1] == (
        "The compromise, which is recommended: trial 1 (AE, d=3): reconstruction error 0.02 (2 times the best), "
        "sample FID 19 (+90 %)."
    )


def test_two_trials_have_no_knee_and_one_pick_may_be_two(tmp_path: Path) -> None:
    frames = study(tmp_path, [(0.010, 12.0), (0.030, 10.0)])
    choice = choose(frames)
    assert "no clear knee (fewer than three trials can be picked)" in picks.certainty(frames, choice, UNKNOWN)[0]
    assert picks.nearly_best(frames, choice)[0] == "Nearly the best reconstruction: the recommended trial."


def test_what_is_best_in_everything_needs_no_other_pick(tmp_path: Path) -> None:
    frames = study(tmp_path, [(0.010, 10.0), (0.030, 12.0)])
    choice = choose(frames)
    assert (picks.certainty(frames, choice, UNKNOWN), picks.nearly_best(frames, choice)) == ([], [])
    [only] = picks.all_picks(frames, choice)
    assert only.startswith("Best in every objective: trial 0 (AE, d=2): reconstruction error 0.01 (the best)")


def test_other_objectives_are_named_and_a_maximised_one_falls_short(tmp_path: Path) -> None:
    objectives = {"val/reconstruction_mse": "minimize", "val/coverage": "maximize"}
    points = [(0.010, 1.0, 0.2), (0.012, 1.0, 0.6), (0.030, 1.0, 0.8)]
    frames = study(tmp_path, points, objectives=objectives)
    found = picks.all_picks(frames, choose(frames))
    assert "coverage 0.6 (-25 %)" in found[1]
    assert found[2].startswith("Nearly the best coverage: trial 2 ")
    assert "another trial" not in picks.certainty(frames, choose(frames), UNKNOWN)[0]  # no score of a feature network


def test_the_spread_between_seeds_adds_to_the_measurements_noise(tmp_path: Path) -> None:
    frames = study(tmp_path, [(0.010, 100.0), (0.015, 20.0), (0.060, 10.0)])
    [text] = picks.certainty(frames, choose(frames), (0.01, 0.04))
    # 3 % between the networks and 4 % between seeds
    words = "the measurement's noise and the spread between seeds (1 % in reconstruction error, 5 % in sample FID)"
    assert words in text


def test_a_trial_that_is_left_out_is_named_and_stays_on_the_front(tmp_path: Path) -> None:
    points = [(0.010, 30.0, 0.9), (0.012, 12.0, 0.26), (0.013, 14.0, 0.9), (0.030, 10.0, 0.8), (0.050, 50.0, 0.8)]
    frames = study(tmp_path, points)
    choice = choose(frames)
    assert choice.front.tolist() == [0, 1, 3] and choice.recommended == 2
    words = "in precision or coverage or copy training images: trial 1 (coverage 0.26)."
    [sentence] = picks.left_out(frames, choice)
    assert sentence.endswith(words)
    console = Console(width=80, file=io.StringIO(), record=True)
    ending.show(console, frames, tmp_path / "toy")
    said = console.export_text()
    assert words in said and "(▸ knee, recommended; ○ dominated)" in said
    assert [line.split()[1] for line in said.splitlines() if line.startswith("▸")] == ["2"]


@pytest.mark.parametrize(("value", "best", "words"), [(1.04, 1.0, "+4 %"), (3.2, 1.0, "3.2 times"), (-1.0, -2.0, "+1")])
def test_comparisons(value: float, best: float, words: str) -> None:
    assert picks._compared(value, best).startswith(words)
    assert picks._compared(best, best) == "the best"


def test_without_a_front_there_are_no_picks(tmp_path: Path) -> None:
    frames = study(tmp_path, [])
    assert picks.all_picks(frames, choose(frames)) == []
    assert not np.isfinite(picks.seed_noise(frames, choose(frames), [])).any()
