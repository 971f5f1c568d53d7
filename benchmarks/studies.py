"""A study run as a user runs it, and what its files say about where the time went."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rows import Row
from study.disk.files import read_json, read_lines

LEAST_PACKING = 0.9
_WORK = {"training": "seconds", "measuring": "evaluation_seconds", "measuring at the end, pictures": "final_seconds"}
"""What a trial spends its time on, and the name by which its records have it."""


class Interval(NamedTuple):
    """When something ran, in seconds since the epoch."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return self.end - self.start


def usable_cores() -> int:
    """Cores that this process may use: as many trials run at once."""
    return len(os.sched_getaffinity(0))


def run_module(module: str, *arguments: str, log: Path) -> Interval:
    """Runs `python -m module` to its end.

    Args:
        module: Its name.
        arguments: Of the command.
        log: Takes what it prints.

    Raises:
        RuntimeError: It failed; the message ends with its last lines.
    """
    start = time.time()
    with open(log, "w") as file:
        command = [sys.executable, "-m", module, *arguments]
        status = subprocess.run(command, stdout=file, stderr=file, check=False).returncode
    if status:
        last = "\n".join(log.read_text().splitlines()[-20:])
        raise RuntimeError(f"python -m {module} {' '.join(arguments)} ended with {status}:\n{last}")
    return Interval(start, time.time())


def trial_records(study: Path) -> list[list[dict[str, Any]]]:
    """Every trial's epochs, as it wrote them."""
    return [list(read_lines(path)) for path in sorted(study.glob("trials/*/attempt-1/metrics.jsonl"))]


def trial_intervals(study: Path) -> list[Interval]:
    """When each trial was at work, from its first file to its last; in the order of their starts."""
    attempts = [path.parent for path in study.glob("trials/*/attempt-1/process.json")]
    return sorted(
        Interval((attempt / "process.json").stat().st_mtime, max(file.stat().st_mtime for file in attempt.iterdir()))
        for attempt in attempts
    )


def packing(intervals: Sequence[Interval], slots: int) -> float:
    """Share of the slots' time in which a trial was at work, until the last one was handed out."""
    begin, empty = intervals[0].start, intervals[-1].start
    busy = sum(min(interval.end, empty) - interval.start for interval in intervals)
    return busy / (slots * (empty - begin))


def phase_rows(study: Path, wall: Interval, slots: int) -> list[Row]:
    """Where a study's time went, by its own records: the command's wall time, and what its trials did.

    Args:
        study: Its folder, after the command ended.
        wall: When the command ran.
        slots: Trials at once.
    """
    created = datetime.fromisoformat((read_json(study / "study.json") or {})["created"]).timestamp()
    intervals, records = trial_intervals(study), [record for epochs in trial_records(study) for record in epochs]
    first, last = intervals[0].start, max(interval.end for interval in intervals)
    at_work = sum(interval.seconds for interval in intervals)
    shares = {name: sum(record.get(key, 0.0) for record in records) / at_work for name, key in _WORK.items()}
    return [
        Row("wall: imports and data, s", created - wall.start),
        Row("wall: Ray and what trials share, s", first - created),
        Row("wall: trials, s", last - first),
        Row("wall: after the last trial, s", wall.end - last),
        *(Row(f"of the trials' time: {name}", share) for name, share in shares.items()),
        Row("of the trials' time: all else", 1 - sum(shares.values())),
        Row("packing efficiency", packing(intervals, slots), LEAST_PACKING),
    ]
