"""The trade-off as text: the numbers are the report's, and marks are where the numbers say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analysis import tradeoff
from study.results.choice import choose
from study.results.frame import StudyFrames, load_study
from study.watching.plot import COMPLETED, FRONT, OTHER, Points, axis, draw, legend, points
from tests.helpers_study import make_study


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    runs = tmp_path_factory.mktemp("plotted")
    make_study(runs, trials=40, replicates=2)
    return load_study(runs, "toy")


def seen(frames: StudyFrames) -> Points | None:
    return points(frames, choose(frames))


def marks(lines: list[str], marker: str) -> list[tuple[int, int]]:
    """(line, column) of each mark."""
    return [(row, column) for row, line in enumerate(lines) for column, mark in enumerate(line) if mark == marker]


def test_it_shows_what_the_reports_figure_shows(frames: StudyFrames) -> None:
    found, figure = seen(frames), tradeoff.info(frames)
    assert found is not None
    shown = figure.searched
    assert found.x.tolist() == figure.x[shown].tolist() and found.y.tolist() == figure.y[shown].tolist()
    assert sorted(found.x[found.front]) == sorted(figure.x[figure.front])
    assert found.completed.tolist() == (figure.outcome[shown] == "completed").tolist()
    assert found.real_data == figure.real_data == 2.8


@pytest.mark.parametrize(("width", "height"), [(60, 12), (60, 20), (100, 16), (200, 40)])
def test_marks_are_where_the_values_are(width: int, height: int) -> None:
    x, y = np.array([0.01, 0.02, 0.04, 0.03]), np.array([100.0, 10.0, 5.0, 50.0])
    front = np.array([True, True, True, False])
    found = Points("val/reconstruction_mse", "val/sample_fid", x, y, np.array([1, 1, 1, 0], bool), front, 2.0, True)
    lines = draw(found, width, height)
    assert len(lines) == height and max(map(len, lines)) == width
    assert "Sample FID (log)" in lines[0] and "Reconstruction error" in lines[-1] and "(log)" in lines[-1]
    (row_1, left), (row_2, middle), (row_3, right) = marks(lines, FRONT)
    [(row, column)] = marks(lines, OTHER)
    assert not marks(lines, COMPLETED)
    # Logarithms: from .01 to .02 is as far as from .02 to .04, and 10 is nearer to 5 than to 100.
    assert abs((middle - left) - (right - middle)) <= 2 and middle < column < right
    assert row_1 < row < row_2 < row_3 and row_3 - row_2 < row_2 - row_1
    [baseline] = [number for number, line in enumerate(lines) if "┈" in line]
    assert baseline > row_3
    assert legend(found) == "● front  · stopped or running  ┈ real data 2"


def test_axes_are_logarithmic_where_the_reports_are() -> None:
    assert axis(np.array([1.0, 2.0]), 5).log and not axis(np.array([1.0, 1.9]), 5).log
    assert not axis(np.array([0.0, 100.0]), 5).log
    for values in ([1.0, 2.0], [1.0, 1.9], [0.0137, 0.0139], [1e-6, 1e6], [-3.0, 5.0], [7.0], [0.0], [3e-5, 3.1e-5]):
        for most in (2, 4, 12):
            side = axis(np.array(values), most)
            low, high = side.place(min(values)), side.place(max(values))
            assert side.low < low <= high < side.high
            assert len(side.ticks) <= most
            assert all(side.low <= side.place(tick) <= side.high for tick in side.ticks)
        assert len(axis(np.array(values), 12).ticks) >= 2


def test_a_baseline_out_of_reach_is_named(frames: StudyFrames) -> None:
    found = seen(frames)
    assert found is not None and not found.reaches
    assert "↓ real data 2.8" in legend(found)
    assert not any("┈" in line for line in draw(found, 60, 16))


def test_nothing_to_plot(tmp_path: Path, frames: StudyFrames) -> None:
    make_study(tmp_path, trials=0)
    empty = load_study(tmp_path, "toy")
    assert seen(empty) is None
    record = empty.study.replace(objectives={"val/sample_fid": "minimize"})
    assert seen(dataclasses.replace(frames, records=(record,))) is None
    one = seen(frames.keep(np.arange(len(frames.trials)) == 0))
    assert one is not None and len(marks(draw(one, 60, 12), FRONT)) == 1
