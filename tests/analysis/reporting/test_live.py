from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from analysis.reporting import live
from analysis.reporting.page import write_live_report, write_report
from study.disk.layout import live_page_path, report_path
from study.results.frame import load_study
from tests.helpers_study import make_study

ROOT = Path(__file__).parents[3]


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


def started(study: Path, before: str = "") -> int:
    """The id of a live process whose own parent has ended, after running some code."""
    code = f"""
import pathlib, subprocess, sys
from analysis.reporting import live
kept = []
start = subprocess.Popen
def popen(*given, **options):
    kept.append(start(*given, **options))
    return kept[-1]
subprocess.Popen = popen
live.LiveReport(pathlib.Path({str(study)!r}))
print(kept[0].pid, flush=True)
{before}
import os
os._exit(0)  # as if killed
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


def ends(process: int, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = Path(f"/proc/{process}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.2)
    os.kill(process, signal.SIGKILL)
    return False


@pytest.mark.parametrize("before", ["", "import time; time.sleep(2)"], ids=["at once", "later"])
def test_the_process_ends_with_a_parent_that_is_killed(tmp_path: Path, before: str) -> None:
    study = make_study(tmp_path, outcome="running")
    page = live_page_path(study)
    page.parent.mkdir()
    page.write_text("an older page")
    assert ends(started(study, before))
    assert "does not run any more" in page.read_text()


def test_the_process_writes_pages_and_ends_with_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(tmp_path, outcome="running", arrays=True)
    begun: list[subprocess.Popen[Any]] = []
    start = subprocess.Popen

    def quickly(command: list[str], **options: Any) -> subprocess.Popen[Any]:
        hurry = "import sys; from analysis.reporting import live; live.EVERY = 0.1; "
        hurry += "import pathlib; live.keep_current(pathlib.Path(sys.argv[1]), int(sys.argv[2]), 0.1)"
        begun.append(start([command[0], "-c", hurry, *command[-2:]], **options))
        return begun[0]

    monkeypatch.setattr(subprocess, "Popen", quickly)
    with live.LiveReport(study) as running:
        deadline = time.monotonic() + 120
        while not live_page_path(study).is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "The study is running." in live_page_path(study).read_text()
        assert begun[0].poll() is None
    assert begun[0].poll() is not None
    running.leave()
    assert "was interrupted before it had a report" in live_page_path(study).read_text()


def test_the_last_page_leads_to_the_report(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    live.leave(study)
    assert not live_page_path(study).exists()  # a short study had no page
    frames = load_study(tmp_path, "toy")
    write_live_report(frames, live_page_path(study))
    write_report(frames, report_path(study).parent)
    live.leave(study)
    assert 'content="0; url=report.html"' in live_page_path(study).read_text()


@pytest.mark.parametrize("trials", [0, 5])
def test_a_live_page_loads_itself_again_with_and_without_values(tmp_path: Path, trials: int) -> None:
    study = make_study(tmp_path, trials=trials, outcome="running")
    page = write_live_report(load_study(tmp_path, "toy"), live_page_path(study), tmp_path)
    text = page.read_text()
    assert "The study is running." in text
    assert '<noscript><meta http-equiv="refresh" content="60"></noscript>' in text
    assert "location.reload()" in text
    assert ('id="explorer-data"' in text) == bool(trials)


def test_an_earlier_report_stays_while_the_study_runs_again(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    frames = load_study(tmp_path, "toy")
    page, *_ = write_report(frames, report_path(study).parent)
    whole = page.read_bytes()
    write_live_report(frames, live_page_path(study))
    assert page.read_bytes() == whole
    assert b"location.reload()" not in whole
