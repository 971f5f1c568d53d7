"""What the driver says beside a study's progress: what signals have asked for, and what `study control` has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from study.changes import PAUSE, Change, InForce
from study.disk.layout import go_on_command, live_page_path
from study.session.progress import StudyProgress
from study.tuning.interrupts import Interrupts
from study.tuning.searcher import LedgerSearcher


def announcing(
    progress: StudyProgress, interrupts: Interrupts, searcher: LedgerSearcher, keep: Callable[[Sequence[Change]], None]
) -> Callable[[], None]:
    """What is called again and again while a study runs: it shows progress, and says each thing once.

    Args:
        progress: Where it is shown.
        interrupts: What signals have asked for.
        searcher: Knows what has been changed.
        keep: Called with all changes seen so far, to write down those that are new.
    """
    was_paused = False
    page, begun = live_page_path(searcher.directory), time.time()

    def refresh() -> None:
        nonlocal was_paused
        if page.is_file() and page.stat().st_mtime >= begun:  # an earlier session may have left one
            progress.say(f"page     {page} shows the study while it runs")
        for change in searcher.news():
            if change.what != PAUSE:  # which has its own line
                progress.tell(f"changed: {change.text}")
        keep(searcher.changes)
        paused = searcher.changed.paused
        if paused and not was_paused:
            progress.tell(f"paused: {go_on_command(searcher.directory)} goes on")
        if paused != was_paused:
            progress.rest(paused)
        was_paused = paused
        if searcher.lost:
            progress.say(f"the ledger's database does not answer ({searcher.lost}): changes wait until it does")
        if interrupts.announcement:
            progress.say(interrupts.announcement)
        progress.refresh()

    return refresh


def begun_with(state: InForce) -> list[str]:
    """What earlier changes mean for this session."""
    return [f"in force: {line}" for line in state.lines(with_stopped=False) if line != "paused"]
