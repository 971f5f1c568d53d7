"""What a watched study shows fits terminals of every size, and says the same on all of them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from study.results.choice import choose
from study.results.frame import load_study
from study.watching.plot import FRONT, Points, points
from study.watching.running import Running
from study.watching.screen import Moment, screen
from tests.helpers_study import make_study, study_record

OBJECTIVES = list(study_record()["objectives"])
LINES = ["study        toy: running", "trials       22 of 24 ended", f"front        {', '.join(map(str, range(30)))}"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Points | None:
    runs = tmp_path_factory.mktemp("shown")
    make_study(runs, trials=24)
    frames = load_study(runs, "toy")
    return points(frames, choose(frames))


def running(count: int) -> list[Running]:
    values = {"val/reconstruction_mse": 0.0123, "val/sample_fid": 45.6}
    first = Running(7, "WAE-MMD d=8 w=0.0465 kernel=imq annealing=linear", 3, 12, values, 4000.0)
    return [first, *(Running(100 + number, "AE d=2", 0, 12, {}, None) for number in range(1, count))][:count]


def show(moment: Moment, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(screen(moment, console))
    return captured.get().splitlines()


@pytest.mark.parametrize("count", [0, 1, 4, 40])
@pytest.mark.parametrize("height", [5, 12, 24, 40, 80])
@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_it_fits(found: Points | None, width: int, height: int, count: int) -> None:
    shown = show(Moment(LINES, OBJECTIVES, found, running(count), False), width, height)
    assert len(shown) <= height and max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert all(line[:20] in text for line in LINES)
    if height >= 24:
        assert FRONT in text and "Sample FID" in text and f"{FRONT} front" in text
        if count:
            row = next(line.split() for line in shown if line.split()[:2] == ["7", "WAE-MMD"])
            assert row[2:4] == ["d=8", "w=0.0465"]
            assert "3/12" in row and "0.0123" in row and "45.6" in row and "66m" in row
    if count == 40:
        listed = sum("/12" in line for line in shown)
        assert height < 12 or listed == 40 or f"and {40 - listed} more that run" in text
        assert height != 40 or listed >= 8


def test_columns_are_named_as_fully_as_there_is_room(found: Points | None) -> None:
    moment = Moment(LINES, OBJECTIVES, found, running(2), False)
    narrow, wide = ("\n".join(show(moment, width, 40)) for width in (60, 140))
    assert "reconstruction_mse" in wide and "sample_fid" in wide and "66m ago" in wide
    assert "mse" in narrow and "reconstruction_mse" not in narrow


def test_before_the_first_trial() -> None:
    shown = show(Moment(LINES[:2], OBJECTIVES, None, [], False), 60, 24)
    assert [line.rstrip() for line in shown] == [*LINES[:2], "no trial has both objectives yet"]
