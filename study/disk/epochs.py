"""The epochs of one trial, read from the files of its attempts as they grow."""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.disk.layout import METRICS, attempt_folders

_METRIC_NAME = re.compile(r"[A-Za-z0-9_][\w\-. :]*(?:/[A-Za-z0-9_][\w\-. :]*)*", re.ASCII)
_NOT_VALUES = ("epoch", "time", "seconds", "evaluation_seconds", "final_seconds", "gpu_memory_share")

Record = dict[str, float]
"""One epoch: metric name -> value, with `epoch` and `time` (Unix seconds) among them."""


def parse_record(line: bytes) -> Record | None:
    """Reads a line of `metrics.jsonl`; None if it is torn or no epoch.

    Leaves out entries that are not numbers or have names that MLflow refuses.
    """
    try:
        entries = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entries, dict):
        return None
    record = {name: value for name, entry in entries.items() if (value := _number(name, entry)) is not None}
    epoch = record.get("epoch", 0.0)
    if not (1 <= epoch < 2**31 and epoch.is_integer()):
        return None
    if not 0 <= record.get("time", math.nan) < 1e11:
        record["time"] = 0.0
    return record


@functools.lru_cache(maxsize=1024)  # the same few names stand in every line
def _is_metric_name(name: str) -> bool:
    return _METRIC_NAME.fullmatch(name) is not None


def _number(name: str, entry: Any) -> float | None:
    if isinstance(entry, bool) or not isinstance(entry, int | float) or not _is_metric_name(name):
        return None
    try:
        return float(entry)
    except OverflowError:
        return None


def same_values(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Whether two records of an epoch hold the same metrics, bit for bit; times do not count, and NaN equals NaN."""
    names = (first.keys() | second.keys()) - set(_NOT_VALUES)
    return all(_same(first.get(name), second.get(name)) for name in names)


def _same(first: float | None, second: float | None) -> bool:
    return first == second or (first is not None and second is not None and first != first and second != second)


class TrialRecords:
    """All epochs of a trial by attempt. `read` adds what is new."""

    def __init__(self, trial: Path) -> None:
        self._trial = trial
        self._offsets: dict[int, int] = {}
        self._attempts: dict[int, dict[int, Record]] = {}

    def read(self) -> bool:
        """Reads the new whole lines of every attempt, and returns whether there were any."""
        grown = False
        for number, folder in attempt_folders(self._trial):
            path = folder / METRICS
            try:
                size = path.stat().st_size
                offset = self._offsets.get(number, 0)
                if size == offset:
                    continue
                with path.open("rb") as file:
                    file.seek(offset if size > offset else 0)  # a file that shrank is read from its start
                    start = file.tell()
                    content = file.read()
            except FileNotFoundError:
                continue
            lines = content.split(b"\n")
            epochs = self._attempts.setdefault(number, {})
            for line in lines[:-1]:
                if record := parse_record(line):
                    epochs[int(record["epoch"])] = record
                    grown = True
            tail = lines[-1]
            if record := parse_record(tail):  # an object that parses is whole, even without a newline
                epochs[int(record["epoch"])] = record
                grown, tail = True, b""
            self._offsets[number] = start + len(content) - len(tail)
        return grown

    def merged(self, newest: int | None = None) -> dict[int, tuple[int, Record]]:
        """epoch -> (attempt, record). Of several attempts at an epoch, the newest up to `newest` counts."""
        epochs: dict[int, tuple[int, Record]] = {}
        for attempt in sorted(self._attempts):
            if newest is None or attempt <= newest:
                epochs |= {epoch: (attempt, record) for epoch, record in self._attempts[attempt].items()}
        return dict(sorted(epochs.items()))

    def contradicts(self, attempt: int, epoch: int) -> bool:
        """Whether attempts after `attempt` disagree with earlier ones. Only epochs up to `epoch` count."""
        later = [number for number in self._attempts if number > attempt]
        if not later:
            return False
        before = self.merged(attempt)
        return any(
            not same_values(before[number][1], record)
            for number, (source, record) in self.merged().items()
            if source > attempt and number <= epoch and number in before
        )


def counted_epochs(records: TrialRecords, outcome: Mapping[str, Any] | None) -> dict[int, tuple[int, Record]]:
    """epoch -> (attempt, record) up to the trial's end. An orphaned process may have written more.

    Args:
        records: The trial's epochs.
        outcome: The content of its `outcome.json`; None if it has not ended.
    """
    epochs = records.merged()
    last = None if outcome is None or outcome.get("outcome") == "failed" else outcome.get("epochs")
    return {epoch: found for epoch, found in epochs.items() if not isinstance(last, int) or epoch <= last}


def recorded_epochs(trial: Path) -> int:
    """The greatest n for which the attempts have recorded every epoch from 1 to n."""
    records = TrialRecords(trial)
    records.read()
    recorded = records.merged()
    return next(epoch for epoch in itertools.count() if epoch + 1 not in recorded)
