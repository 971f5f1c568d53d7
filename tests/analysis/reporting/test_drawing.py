"""Two processes draw the same figures as one, even if the second one fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.reporting import drawing
from analysis.reporting.figures import FIGURES
from study.config import UserError
from study.results.frame import StudyFrames, load_study
from tests.helpers_study import make_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder."""
    return make_study(tmp_path_factory.mktemp("runs"), trials=6)


@pytest.fixture(scope="module")
def frames(folder: Path) -> StudyFrames:
    return load_study(folder.parent, folder.name)


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_processes_draw_what_one_draws(frames: StudyFrames, folder: Path, tmp_path: Path, monkeypatch) -> None:
    alone = drawing.draw_figures(frames, tmp_path / "alone", list(FIGURES))
    here: list[str] = []
    draw_figures = drawing.draw_figures

    def noting(frames: StudyFrames, out: Path, names: list[str]) -> list[drawing.Drawn]:
        here.extend(names)
        return draw_figures(frames, out, names)

    monkeypatch.setattr(drawing, "draw_figures", noting)
    assert drawing.draw(frames, tmp_path / "both", [folder]) == alone
    assert pictures(tmp_path / "both") == pictures(tmp_path / "alone") != {}
    assert here == list(FIGURES)[: len(here)] and len(here) < len(FIGURES)


@pytest.mark.parametrize("program", ["raise SystemExit(3)", f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"])
def test_if_the_second_process_fails_the_first_draws_all(
    frames: StudyFrames, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{program}\n")
    python.chmod(0o700)
    monkeypatch.setattr(drawing.sys, "executable", str(python))
    drawn = drawing.draw(frames, tmp_path / "out", [folder])
    assert [figure["name"] for figure in drawn] == list(FIGURES)
    assert set(pictures(tmp_path / "out")) == {f"{figure['name']}.png" for figure in drawn if "text" in figure}


def test_if_the_second_process_does_not_start_the_first_draws_all(
    frames: StudyFrames, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(drawing.subprocess, "Popen", refused)
    assert [figure["name"] for figure in drawing.draw(frames, tmp_path / "out", [folder])] == list(FIGURES)


def test_part_of_a_study_is_drawn_by_one_process(frames: StudyFrames, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(drawing, "_start", lambda *_: pytest.fail("the second process would draw all trials"))
    drawing.draw(frames.keep(frames.column("number") < 4), tmp_path / "out")
    assert pictures(tmp_path / "out")


def test_errors_in_figures_of_the_second_process_are_raised(frames: StudyFrames, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "time_spent.png").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot write .*time_spent\.png"):
        drawing.draw(frames, tmp_path / "out", [folder])


def test_an_interrupt_ends_the_second_process(
    frames: StudyFrames, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    start = drawing._start

    def noting(*task: Any) -> subprocess.Popen[bytes]:
        process = start(*task)
        started.append(process.pid)
        return process

    def interrupted(*_: object) -> list[drawing.Drawn]:
        raise KeyboardInterrupt

    monkeypatch.setattr(drawing, "_start", noting)
    monkeypatch.setattr(drawing, "draw_figures", interrupted)
    with pytest.raises(KeyboardInterrupt):
        drawing.draw(frames, tmp_path, [folder])
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
