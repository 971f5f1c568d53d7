"""What was changed in a study after it had begun, and what of it is in force: the words of `study control`.

A change is recorded once and never altered. What is in force follows from all changes in their order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from study.ranges import RANGES

AUTO = "auto"
"""As `--max-concurrent`: as many trials at once as fit."""
DEFAULT = "default"
"""As `--max-concurrent`: the number given at the start of the session."""
MAX_CONCURRENT, PAUSE, RESUME, STOP_TRIAL, RANGE = KINDS = ("max_concurrent", "pause", "resume", "stop_trial", "range")
"""What a change may be."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One change.

    Attributes:
        id: When, to the microsecond, and a part that no other has; changes are ordered by it.
        time: When, ISO 8601 in UTC.
        what: One of `KINDS`.
        value: Of `max_concurrent`, a number, `auto` or `default`; of `stop_trial`, the trial's number; of `range`,
            either `low` and `high` or `choices`, or None for what the space says.
        parameter: The parameter of a range.
    """

    id: str
    time: str
    what: str
    value: Any = None
    parameter: str | None = None

    def __post_init__(self) -> None:
        """Refuses what no command writes; kinds that only a later version knows pass.

        Raises:
            ValueError: It is not a change.
        """
        datetime.fromisoformat(self.time)
        number = isinstance(self.value, int) and not isinstance(self.value, bool)
        is_valid = {
            MAX_CONCURRENT: self.value in (AUTO, DEFAULT) or (number and RANGES["max_concurrent"].holds(self.value)),
            STOP_TRIAL: number and self.value >= 0,
            RANGE: self.parameter is not None and (self.value is None or _is_range(self.value)),
        }
        if not is_valid.get(self.what, True):
            raise ValueError(f"{self.what} of {self.value!r}")

    @property
    def text(self) -> str:
        """It in words, such as `at most 4 trials at once`."""
        if self.what == MAX_CONCURRENT:
            return concurrency_text(self.value)
        if self.what == STOP_TRIAL:
            return f"trial {self.value} is to end"
        if self.what == RANGE:
            return range_text(str(self.parameter), self.value)
        return {PAUSE: "paused", RESUME: "resumed"}.get(self.what, self.what)

    @property
    def line(self) -> str:
        """It in one line with its time."""
        return f"{datetime.fromisoformat(self.time):%Y-%m-%d %H:%M:%S} UTC: {self.text}"


@dataclasses.dataclass(frozen=True)
class InForce:
    """What all changes of a study amount to.

    Attributes:
        max_concurrent: Most trials at once, or `auto`; None for the number given at the start of the session.
        paused: No trial runs or begins.
        stopped: Trials that end at their next report.
        ranges: What suggestions are limited to, by parameter, see `Change.value`.
    """

    max_concurrent: int | str | None = None
    paused: bool = False
    stopped: frozenset[int] = frozenset()
    ranges: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def limit(self, given: int | None) -> int | None:
        """Most trials at once; None for as many as fit.

        Args:
            given: The number given at the start of the session.
        """
        if self.max_concurrent is None:
            return given
        return None if self.max_concurrent == AUTO else int(self.max_concurrent)

    def lines(self, *, with_stopped: bool = True) -> list[str]:
        """It in words.

        Args:
            with_stopped: Whether to name the trials that are to end.
        """
        found = [] if self.max_concurrent is None else [concurrency_text(self.max_concurrent)]
        found += ["paused"] if self.paused else []
        found += [f"trial {number} is to end" for number in sorted(self.stopped) if with_stopped]
        return found + [range_text(name, value) for name, value in self.ranges.items()]


def in_force(changes: Iterable[Change]) -> InForce:
    """Folds changes, given in their order."""
    state, ranges = InForce(), {}
    for change in changes:
        if change.what == MAX_CONCURRENT:
            state = dataclasses.replace(state, max_concurrent=None if change.value == DEFAULT else change.value)
        elif change.what in (PAUSE, RESUME):
            state = dataclasses.replace(state, paused=change.what == PAUSE)
        elif change.what == STOP_TRIAL:
            state = dataclasses.replace(state, stopped=state.stopped | {int(change.value)})
        elif change.what == RANGE:
            ranges.pop(change.parameter, None)
            if change.value is not None:
                ranges[change.parameter] = change.value
    return dataclasses.replace(state, ranges=ranges)


def _is_range(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    ends = [value.get("low"), value.get("high")]
    numbers = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool)]
    if len(numbers) == len(ends):
        return -math.inf < numbers[0] <= numbers[1] < math.inf
    return isinstance(value.get("choices"), list | tuple)


def concurrency_text(value: int | str) -> str:
    """A limit of trials at once in words."""
    if value == AUTO:
        return "as many trials at once as fit"
    if value == DEFAULT:
        return "as many trials at once as its start says"
    return f"at most {value} trial{'s' * (value != 1)} at once"


def range_text(parameter: str, value: Mapping[str, Any] | None) -> str:
    """A range in words."""
    if value is None:
        return f"{parameter} as the space says"
    if "choices" in value:
        return f"{parameter} from {', '.join(map(str, value['choices']))}"
    return f"{parameter} from {value['low']:.15g} to {value['high']:.15g}"
