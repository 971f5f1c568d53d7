from __future__ import annotations

import signal

import pytest

from study.tuning.interrupts import Interrupts


@pytest.mark.parametrize(
    ("numbers", "finishing", "now"),
    [
        ([], False, False),
        ([signal.SIGINT], True, False),
        ([signal.SIGINT, signal.SIGINT], True, True),
        ([signal.SIGTERM], True, True),
        ([signal.SIGHUP], True, True),
        ([signal.SIGINT, signal.SIGTERM], True, True),
    ],
)
def test_signals_are_wishes_while_deferred(numbers: list[signal.Signals], finishing: bool, now: bool) -> None:
    with Interrupts() as interrupts, interrupts.deferred():
        for number in numbers:
            signal.raise_signal(number)
        assert (interrupts.finishing, interrupts.now) == (finishing, now)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt_at_any_other_time_and_when_repeated(number: signal.Signals) -> None:
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.deferred():
        for _ in range(3):
            signal.raise_signal(number)


def test_a_signal_that_python_drops_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    class Freed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    dropped: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: dropped.append(unraisable.exc_type))
    with Interrupts() as interrupts:
        Freed()
        assert dropped == [KeyboardInterrupt]
        assert interrupts.finishing and interrupts.now


def test_handlers_come_back_and_what_was_ignored_stays_so() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, hangup)
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_handler_put_in_place_by_another_is_replaced() -> None:
    with Interrupts() as interrupts:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as ray.init does, with one that exits
        with interrupts.deferred():
            signal.raise_signal(signal.SIGTERM)
            assert interrupts.now
