"""Shows the progress of a study: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from study.disk.following import Followed
from study.search.tally import Tally
from study.session.time_left import seconds_left, trained


class StudyProgress:
    """Shows a tally as it changes.

    Args:
        tally: Counts and best values; read at each `refresh`.
        num_trials: Trials the study is to have.
        directory: The study's folder, whose epochs say how long it will take.
        console: Where to print.
        noun: What is counted.
        interval: Least number of seconds between updates.
        deadline: After this no trial begins, Unix seconds; None for no limit.
    """

    def __init__(
        self,
        tally: Tally,
        num_trials: int,
        directory: Path,
        console: Console,
        noun: str = "trials",
        interval: float = 1.0,
        deadline: float | None = None,
    ) -> None:
        self._tally = tally
        self._num_trials = num_trials
        self._followed = Followed(directory)
        self._console = console
        self._noun = noun
        self._interval = interval
        self._deadline = deadline
        self._begun = time.time()
        self._last_shown = -1.0
        self._last_text = ""
        self._said: set[str] = set()
        self._bar = Progress(
            TextColumn(noun),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=num_trials, completed=tally.done)

    def __enter__(self) -> StudyProgress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Prints a line beside the progress, once."""
        if text not in self._said:
            self._said.add(text)
            self._console.print(text, highlight=False, soft_wrap=True)

    def rest(self, paused: bool) -> None:
        """A pause begins or ends: the time left counts from its end, and is not told during it."""
        self._begun = math.inf if paused else time.time()

    def tell(self, text: str) -> None:
        """Prints a line beside the progress, each time."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def refresh(self) -> None:
        """Shows the tally, at most once per interval. Without a terminal, only after a trial has ended."""
        now = time.monotonic()
        if now - self._last_shown < self._interval:
            return
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._tally.done, description=self.text())
        else:
            ended = f"{self._tally.done}/{self._num_trials} {self._noun}"
            if ended == self._last_text:
                return
            self._last_text = ended
            self._console.print(f"{ended} · {self.text()}", highlight=False, soft_wrap=True)
        self._last_shown = now

    def text(self) -> str:
        """The tally in words: `2 running · 1 stopped · 0 failed · best sample_fid 7.1 · about 0:40 left`."""
        tally = self._tally
        parts = [f"{tally.running} running", f"{tally.stopped} stopped", f"{tally.failed} failed"]
        parts += [f"best {name.rpartition('/')[2]} {value:.4g}" for name, value in tally.best.items()]
        left = self._seconds_left()
        if left is not None:
            parts.append(f"about {int(left) // 60}:{int(left) % 60:02d} left")
        return " · ".join(parts)

    def _seconds_left(self) -> float | None:
        with contextlib.suppress(OSError):  # then as of the last time: a study goes on without an estimate
            self._followed.read()
        now = time.time()
        trials = trained(self._followed.trials.values(), self._begun, extra=self._tally.extra)
        deadline = None if self._deadline is None else self._deadline - now
        return seconds_left(trials, self._num_trials, now, deadline)
