"""Watches a study until it ends: a screen that is drawn again, or lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.live import Live

from study.watching.screen import Moment, screen

T = TypeVar("T")
INTERVAL_S = 2.0
_LARGEST_SHARE = 0.04
"""Share of a core that watching may take: of a huge study there are longer pauses."""
_MOVING = ("running ", "time left ")
"""How lines begin that change with every epoch."""


def watch(read: Callable[[], Moment], console: Console, interval: float = INTERVAL_S) -> None:
    """Shows a study until nobody runs it any more; its last lines stay on the terminal.

    Without a terminal, as in a pipe, lines are printed whenever they have changed.

    Args:
        read: Reads the study.
        console: Where to show it.
        interval: Seconds between two looks, at least.

    Raises:
        UserError: The study can no longer be read.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        _print_changes(read, console, interval)
        return
    moment, cost = _timed(read)
    if not moment.over:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while not moment.over:
                _, drawing = _timed(lambda shown=moment: live.update(screen(shown, console), refresh=True))
                time.sleep(_pause(cost + drawing, interval))
                moment, cost = _timed(read)
    _print(moment.lines, console)


def _print_changes(read: Callable[[], Moment], console: Console, interval: float) -> None:
    last: list[str] = []
    while True:
        moment, cost = _timed(read)
        changed = [line for line in moment.lines if line not in last]
        if any(not line.startswith(_MOVING) for line in changed):
            _print(changed, console)
            last = moment.lines
        if moment.over:
            return
        time.sleep(_pause(cost, interval))


def _print(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)


def _timed(function: Callable[[], T]) -> tuple[T, float]:
    """What a function returns, and the processor's seconds that it took."""
    begun = time.process_time()
    result = function()
    return result, time.process_time() - begun


def _pause(cost: float, interval: float) -> float:
    return max(interval, cost / _LARGEST_SHARE)
