"""What signals ask of a running study."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Turns signals into requests while trials run, and into KeyboardInterrupt at any other time.

    The first SIGINT asks to finish the running trials and begin no other. A second one, SIGTERM or SIGHUP asks to
    interrupt them now. The next signal raises KeyboardInterrupt. Signals that were ignored stay ignored, so `nohup`
    works. Python lets only the main thread handle signals; in another thread they keep the meaning they have.
    """

    def __init__(self) -> None:
        self._wishes = 0
        self._deferring = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def finishing(self) -> bool:
        """Whether no other trial is to begin."""
        return self._wishes > 0

    @property
    def now(self) -> bool:
        """Whether running trials are to be interrupted."""
        return self._wishes > 1

    @property
    def announcement(self) -> str | None:
        """What to tell the person who sent a signal; None without a signal."""
        if self.now:
            return "stopping now: the running trials are cut off, --resume continues them"
        if self.finishing:
            return "stopping when the running trials have ended (Ctrl-C again cuts them off)"
        return None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Installs the handlers again, since `ray.init` installs its own."""
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._heard)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block, signals only change `finishing` and `now`."""
        self.install()
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        again = self.now
        self._wishes += 1 if number == signal.SIGINT and self._deferring else 2
        # Python drops an exception raised while it frees an object. The request stands all the same.
        if not self._deferring or again:
            raise KeyboardInterrupt
