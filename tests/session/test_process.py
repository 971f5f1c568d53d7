"""A process is left as it was."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import threading
from pathlib import Path

import pytest

from study.session.process import unchanged_process
from study.tuning.imports import quick_imports
from study.tuning.interrupts import Interrupts


def test_what_libraries_change_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "before")
    before = dict(os.environ), os.getcwd(), list(sys.path), sys.excepthook, logging.getLogger("optuna").level
    global_state = signal.getsignal(signal.SIGUSR1), random.getstate()
    gc.unfreeze()
    with pytest.raises(ZeroDivisionError), unchanged_process():
        os.environ.update(KEPT="changed", ADDED="1")
        os.chdir(tmp_path)
        sys.path.insert(0, str(tmp_path))
        sys.excepthook = print
        logging.getLogger("optuna").setLevel(logging.CRITICAL)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        random.random()
        with quick_imports():
            pass
        assert gc.get_freeze_count()
        raise ZeroDivisionError
    after = dict(os.environ), os.getcwd(), list(sys.path), sys.excepthook, logging.getLogger("optuna").level
    assert after == before and not gc.get_freeze_count()
    assert (signal.getsignal(signal.SIGUSR1), random.getstate()) == global_state


def test_a_path_that_a_library_added_is_there_in_the_next_study(tmp_path: Path) -> None:
    with unchanged_process():
        sys.path.insert(0, str(tmp_path))
    assert str(tmp_path) not in sys.path
    with unchanged_process():
        assert sys.path[-1] == str(tmp_path)
    assert str(tmp_path) not in sys.path


def test_a_thread_beside_the_main_one_leaves_signals_alone() -> None:
    found = []

    def interruptible() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with Interrupts() as interrupts, interrupts.deferred():
            found.append((signal.getsignal(signal.SIGTERM) is before, interrupts.finishing))

    thread = threading.Thread(target=interruptible)
    thread.start()
    thread.join()
    assert found == [(True, False)]
