"""The page of a running study: a second process writes it every minute, without figures, as `report/live.html`.

The process yields to trials (`os.nice`), rests thirty times as long as a page takes, and ends with the study, also if
that is killed. The page is a file of its own, so that the report of an earlier session stays until the next one.
"""

from __future__ import annotations

import contextlib
import html
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from study.disk.files import write_atomic
from study.disk.layout import live_page_path, report_path

EVERY = 60.0
"""Seconds between two pages."""
REST = 30
"""For each second of writing, so many without: at most 3 % of one core."""
_POLITE = 19
_PATIENCE = 5.0
"""Seconds that a page in the making gets to remove its temporary file."""


class LiveReport(contextlib.ExitStack):
    """The second process; closing it, or the end of the `with` block, ends it.

    If none can be started, there is no page before the end.

    Args:
        directory: The study's folder.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        with contextlib.suppress(OSError):  # for example, no memory for it
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "analysis.reporting.live", str(directory), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                start_new_session=True,  # Ctrl-C goes to the study alone
            )
            self.callback(_end, process)

    def leave(self) -> None:
        """Lets a page that is open somewhere go on to the report, once that is written."""
        leave(self._directory)


def leave(directory: Path) -> None:
    """Replaces the live page, if there is one, by one that leads to the report, or says that there is none."""
    page, report = live_page_path(directory), report_path(directory)
    if not page.is_file():
        return
    goal = html.escape(report.name)
    text = f"The study {html.escape(directory.name)} does not run any more. "
    head = ""
    if report.is_file():
        head = f'<meta http-equiv="refresh" content="0; url={goal}">'
        text += f'<a href="{goal}">Its report</a>'
    else:
        text += "It was interrupted before it had a report; <code>study status</code> says how to resume it."
    with contextlib.suppress(OSError):
        write_atomic(page, f'<!DOCTYPE html><meta charset="utf-8">{head}<title>ended</title><p>{text}</p>'.encode())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def keep_current(directory: Path, parent: int, every: float = EVERY) -> None:
    """Writes the page until the parent process is gone.

    Args:
        directory: The study's folder.
        parent: Process id of the study.
        every: Seconds between two pages, and before the first.
    """
    rest = every
    while _waited(rest, parent):
        begun = time.monotonic()
        # A record may be half written, a disk full: the next minute may do better.
        with contextlib.suppress(Exception):
            _write(directory)
        rest = max(every, REST * (time.monotonic() - begun))
    leave(directory)


def _waited(seconds: float, parent: int) -> bool:
    """Waits; False as soon as the parent is gone."""
    end = time.monotonic() + seconds
    while os.getppid() == parent:
        if time.monotonic() >= end:
            return True
        time.sleep(min(1.0, seconds))
    return False


def _write(directory: Path) -> None:
    from analysis.reporting.page import write_live_report
    from study.results.frame import load_study

    write_live_report(load_study(directory.parent, directory.name), live_page_path(directory), directory.parent)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    os.nice(_POLITE)
    keep_current(Path(sys.argv[1]), int(sys.argv[2]))
