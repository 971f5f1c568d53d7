"""What a person or a batch system asks of a running study by signals."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Turns signals into wishes while trials run, and into KeyboardInterrupt at any other time.

    The first SIGINT asks that the running trials be finished and no other begun; a second one, SIGTERM or SIGHUP, that
    they be cut off now. Whatever comes after that raises KeyboardInterrupt. Signals that were ignored stay ignored, so
    `nohup` keeps its meaning. To be entered in the main thread.
    """

    def __init__(self) -> None:
        self._wishes = 0
        self._deferring = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def finishing(self) -> bool:
        """No other trial is to begin."""
        return self._wishes > 0

    @property
    def now(self) -> bool:
        """Running trials are to be cut off."""
        return self._wishes > 1

    @property
    def announcement(self) -> str | None:
        """What the person who sent a signal should know; None where none came."""
        if self.now:
            return "stopping now: the running trials are cut off, --resume continues them"
        if self.finishing:
            return "stopping when the running trials have ended (Ctrl-C again cuts them off)"
        return None

    def __enter__(self) -> Interrupts:
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Takes the signals over again; `ray.init` puts a handler of its own in place."""
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._heard)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block signals only change `finishing` and `now`."""
        self.install()
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        again = self.now
        self._wishes += 1 if number == signal.SIGINT and self._deferring else 2
        # Python drops what is raised while it frees an object, so the wish stands even where nobody hears of this.
        if not self._deferring or again:
            raise KeyboardInterrupt
