"""Leaves a process as it was: a script or a notebook goes on after a study."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator

_LOGGERS = ("mlflow", "alembic", "sqlalchemy", "urllib3.connectionpool", "optuna", "ray", "ray.data", "ray.tune")
_added_paths: list[str] = []
"""What large libraries put on the path when they were first imported; they need it in the next study too."""


@contextlib.contextmanager
def unchanged_logging() -> Iterator[None]:
    """Restores at its end the log levels that libraries change. It may be used beside a study in another thread."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def unchanged_process() -> Iterator[None]:
    """Restores at its end what libraries change: environment, working directory, path, log levels, excepthook, the
    handler of SIGUSR1 (Ray Tune sets one), and the state of Python's `random`.

    What is hidden from the garbage collector (`study.tuning.imports`) is shown to it again, unless there was some
    before.
    """
    environment, directory, paths = dict(os.environ), os.getcwd(), list(sys.path)
    excepthook, frozen = sys.excepthook, gc.get_freeze_count()
    on_signal, drawn = signal.getsignal(signal.SIGUSR1), random.getstate()
    sys.path.extend(path for path in _added_paths if path not in paths)
    try:
        with unchanged_logging():
            yield
    finally:
        _added_paths.extend(path for path in sys.path if path not in (*paths, *_added_paths))
        sys.path[:] = paths
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        if os.getcwd() != directory:
            os.chdir(directory)
        sys.excepthook = excepthook
        random.setstate(drawn)
        if threading.current_thread() is threading.main_thread() and on_signal is not None:  # None: not set by Python
            signal.signal(signal.SIGUSR1, on_signal)
        if not frozen:
            gc.unfreeze()
