"""Figures drawn by two processes: the same as by one, whatever becomes of the other."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from analysis import drawing
from analysis.figures import FIGURES
from analysis.frame import StudyFrames, load_study
from study.config import UserError
from tests.helpers_study import make_study


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    folder = tmp_path_factory.mktemp("runs")
    make_study(folder, trials=6)
    return load_study(folder, "toy")


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_processes_draw_what_one_draws(frames: StudyFrames, tmp_path: Path, monkeypatch) -> None:
    alone = drawing.draw_figures(frames, tmp_path / "alone", list(FIGURES))
    here: list[str] = []
    draw_figures = drawing.draw_figures

    def noting(frames: StudyFrames, out: Path, names: list[str]) -> list[drawing.Drawn]:
        here.extend(names)
        return draw_figures(frames, out, names)

    monkeypatch.setattr(drawing, "draw_figures", noting)
    assert drawing.draw(frames, tmp_path / "both") == alone
    assert pictures(tmp_path / "both") == pictures(tmp_path / "alone") != {}
    assert here == list(FIGURES)[: len(here)] and len(here) < len(FIGURES)


@pytest.mark.parametrize("program", ["raise SystemExit(3)", f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"])
def test_where_the_other_process_fails_all_is_drawn_here(
    frames: StudyFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{program}\n")
    python.chmod(0o700)
    monkeypatch.setattr(drawing.sys, "executable", str(python))
    drawn = drawing.draw(frames, tmp_path / "out")
    assert [figure["name"] for figure in drawn] == list(FIGURES)
    assert set(pictures(tmp_path / "out")) == {f"{figure['name']}.png" for figure in drawn if "text" in figure}


def test_what_is_wrong_with_its_figures_is_told(frames: StudyFrames, tmp_path: Path) -> None:
    (tmp_path / "out" / "time_spent.png").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot write .*time_spent\.png"):
        drawing.draw(frames, tmp_path / "out")


def test_an_interrupt_leaves_no_process_behind(
    frames: StudyFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    start = drawing._start

    def noting(task):
        process = start(task)
        started.append(process.pid)
        return process

    def interrupted(*_: object) -> list[drawing.Drawn]:
        raise KeyboardInterrupt

    monkeypatch.setattr(drawing, "_start", noting)
    monkeypatch.setattr(drawing, "draw_figures", interrupted)
    with pytest.raises(KeyboardInterrupt):
        drawing.draw(frames, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
