"""Who drives a study: one process at a time, which leaves a mark and keeps it fresh."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from study.config import UserError
from study.disk import lock as driver
from study.disk.lock import driving, living_driver, undriven


def test_a_driver_is_alone_and_leaves_no_mark(tmp_path: Path) -> None:
    with driving(tmp_path, deadline=1e10):
        found = living_driver(tmp_path, time.time())
        assert found is not None
        assert found[:2] == (socket.gethostname(), os.getpid()) and found.deadline == 1e10
        with pytest.raises(UserError, match=f"process {os.getpid()} on"), driving(tmp_path):
            pass
        assert living_driver(tmp_path, time.time()) == found
    assert living_driver(tmp_path, time.time()) is None
    with driving(tmp_path):
        pass


def test_its_mark_is_kept_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "HEARTBEAT_SECONDS", 0.01)
    mark = tmp_path / "driver.json"
    with driving(tmp_path):
        os.utime(mark, (0, 0))
        deadline = time.monotonic() + 60
        while mark.stat().st_mtime < 1:
            assert time.monotonic() < deadline, "the heart does not beat"
            time.sleep(0.01)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"host": "a", "pid": 1}', '{"host": 1, "colour": 2}'])
def test_a_mark_that_is_not_whole_is_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "driver.json").write_text(content)
    assert living_driver(tmp_path, time.time()) is None


def test_a_driver_waits_for_who_keeps_drivers_away_for_a_moment(tmp_path: Path) -> None:
    keeping = threading.Thread(target=keep_away, args=(tmp_path, 0.5))
    keeping.start()
    time.sleep(0.1)
    with driving(tmp_path), undriven(tmp_path) as free:
        assert not free
    keeping.join()


def keep_away(directory: Path, seconds: float) -> None:
    with undriven(directory) as free:
        assert free
        time.sleep(seconds)
