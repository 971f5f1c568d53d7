"""Watching ends with the study or with Ctrl-C, on a terminal and without one."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from study.cli import command_status
from study.config import UserError
from study.results.choice import choose
from study.results.frame import load_study
from study.status import main
from study.watching import watch as module
from study.watching.plot import Points, points
from study.watching.screen import Moment
from study.watching.watch import watch
from tests.helpers_study import make_study, study_record

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Points | None:
    runs = tmp_path_factory.mktemp("watched")
    make_study(runs, trials=8)
    frames = load_study(runs, "toy")
    return points(frames, choose(frames))


def following(found: Points | None, moments: list[list[str]]) -> Callable[[], Moment]:
    """Reads one list of lines after the other; with the last one the study is over."""
    left: Iterator[list[str]] = iter(moments)
    count = len(moments)

    def read() -> Moment:
        nonlocal count
        count -= 1
        return Moment(next(left), list(study_record()["objectives"]), found, [], over=count == 0)

    return read


def test_a_pipe_gets_lines_when_they_change(found: Points | None) -> None:
    printed = io.StringIO()
    moments = [
        ["study        x: running", "trials       0 of 2 ended", "time left    about 9"],
        ["study        x: running", "trials       0 of 2 ended", "running      trial 0", "time left    about 8"],
        ["study        x: running", "trials       1 of 2 ended", "time left    about 5"],
        ["study        x: completed", "trials       2 of 2 ended"],
    ]  # fmt: skip
    watch(following(found, moments), Console(file=printed), interval=0.0)
    assert [line.split(maxsplit=1) for line in printed.getvalue().splitlines()] == [
        ["study", "x: running"], ["trials", "0 of 2 ended"], ["time", "left    about 9"],
        ["trials", "1 of 2 ended"], ["time", "left    about 5"],
        ["study", "x: completed"], ["trials", "2 of 2 ended"],
    ]  # fmt: skip


def test_a_terminal_keeps_the_last_lines(found: Points | None) -> None:
    printed = io.StringIO()
    console = Console(file=printed, width=60, height=24, force_terminal=True, color_system=None, _environ={})
    watch(following(found, [["study x: running"]] * 3 + [["study x: completed"]]), console, interval=0.0)
    inside, _, after = printed.getvalue().rpartition("\x1b[?1049l")
    assert inside.count("Sample FID") >= 3 and "study x: running" in inside
    assert _COLOURS.sub("", after).split("\n")[-2:] == ["study x: completed", ""]


def test_a_study_that_has_ended_is_shown_once(found: Points | None) -> None:
    for terminal in (False, True):
        printed = io.StringIO()
        watch(following(found, [["study x: interrupted"]]), Console(file=printed, force_terminal=terminal))
        assert _COLOURS.sub("", printed.getvalue()) == "study x: interrupted\n"


def test_pauses_grow_with_the_cost(found: Points | None, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    clock = iter(range(1000))
    monkeypatch.setattr(module.time, "process_time", lambda: float(next(clock)))  # every measured step takes a second
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    watch(following(found, [["a"], ["b"]]), Console(file=io.StringIO()), interval=2.0)
    assert pauses == [25.0]  # 1 s is 4 % of it


def test_a_study_whose_folder_goes_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_status(main, ["--study", "nope", "--watch", "--runs-dir", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    study = make_study(tmp_path, trials=2)
    (study / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study\.json"):
        main("toy", watch=True, runs_dir=tmp_path)


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, runs: Path, columns: int = 60, lines: int = 40) -> None:
        self._own, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        command = [sys.executable, "-m", "study.status", "--study", "toy", "--runs-dir", str(runs), "--watch"]
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("COLUMNS", None)
        environment.pop("LINES", None)
        self.process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, env=environment, start_new_session=True
        )
        os.close(other)
        self.text = ""

    def read_until(self, text: str, seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < end, self.text
            self._read()

    def _read(self) -> bool:
        try:
            part = os.read(self._own, 65536)
        except OSError as error:  # Linux says so when the process has gone
            assert error.errno == errno.EIO
            return False
        self.text += _COLOURS.sub("", part.decode())
        return bool(part)

    def close(self) -> int:
        """The exit status, when everything has been read."""
        while self._read():
            pass
        os.close(self._own)
        return self.process.wait()


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """A study that this process seems to run."""
    study = make_study(tmp_path, trials=24)
    record = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**record, "outcome": "running"}))
    mark = {"host": os.uname().nodename, "pid": os.getpid(), "begun": 1.7e9, "deadline": None}
    (study / "driver.json").write_text(json.dumps(mark))
    return tmp_path


def test_the_command_ends_with_the_study(running: Path) -> None:
    terminal = Terminal(running)
    terminal.read_until("trial what")
    for text in ("toy: running", "Sample FID (log)", "●", "4/12", "time left"):
        assert text in terminal.text
    path = running / "toy" / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "outcome": "completed"}))
    (running / "toy" / "driver.json").unlink()
    assert terminal.close() == 0
    assert terminal.text.rstrip().splitlines()[-1].startswith(("hypervolume", "front"))
    assert "toy: completed" in terminal.text


def test_the_command_ends_when_the_driver_has_died(running: Path) -> None:
    terminal = Terminal(running, columns=100)
    terminal.read_until("trial what")
    path = running / "toy" / "driver.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": 2**22 + 1}))
    assert terminal.close() == 0
    assert "toy: interrupted" in terminal.text and "--resume" in terminal.text


def test_ctrl_c_is_quiet(running: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in running.rglob("*")}
    terminal = Terminal(running)
    terminal.read_until("trial what")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.close() == 130
    assert "Traceback" not in terminal.text
    assert {path: path.stat().st_mtime_ns for path in running.rglob("*")} == before
