from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.reporting import live
from analysis.reporting.ending import report
from analysis.reporting.page import is_live, write_live_report, write_report
from study.cli import console
from study.disk.layout import report_path
from study.results.frame import load_study
from tests.helpers_study import make_study


def test_the_page_is_kept_current_until_the_parent_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(tmp_path, outcome="running")
    written: list[float] = []

    def count(directory: Path) -> None:
        written.append(time.monotonic())
        if len(written) == 1:
            raise OSError("the disk is full")
        assert directory == study

    parents = iter([7] * 40 + [1] * 1000)
    monkeypatch.setattr(live, "_write", count)
    monkeypatch.setattr(live, "REST", 0)
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    live.keep_current(study, 7, every=0.01)
    assert len(written) >= 2  # a failure ends nothing


def test_the_second_process_writes_a_page_and_ends_with_its_block(tmp_path: Path) -> None:
    study = make_study(tmp_path, outcome="running", arrays=True)
    code = "import os, pathlib; from analysis.reporting.live import keep_current; "
    code += f"keep_current(pathlib.Path({str(study)!r}), os.getppid(), 0.1)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    try:
        deadline = time.monotonic() + 120
        while not report_path(study).is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert is_live(report_path(study))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_it_ends_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    study = make_study(tmp_path, outcome="running")
    begun = time.monotonic()
    with live.LiveReport(study) as running:
        running.close()
    assert time.monotonic() - begun < live._PATIENCE + 5
    assert not report_path(study).exists()


def test_a_live_page_says_so_and_gives_way_to_the_report(tmp_path: Path) -> None:
    study = make_study(tmp_path, arrays=True)
    frames = load_study(tmp_path, "toy")
    page = write_live_report(frames, report_path(study).parent, tmp_path)
    text = page.read_text()
    assert is_live(page)
    assert "The study is running." in text
    assert '<noscript><meta http-equiv="refresh" content="60"></noscript>' in text
    assert "explorer-data" in text
    report(console(), frames, study, None)  # although no trial has ended since
    assert not is_live(page)
    assert "The study is running." not in page.read_text()
    changed = page.stat().st_mtime_ns
    report(console(), frames, study, None)
    assert page.stat().st_mtime_ns == changed


def test_a_finished_page_is_not_live(tmp_path: Path) -> None:
    make_study(tmp_path, trials=3)
    page, *_ = write_report(load_study(tmp_path, "toy"), tmp_path / "out")
    assert not is_live(page)
