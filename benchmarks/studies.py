"""Runs a study as a user does, and reads from its files where the time went."""

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
_WORK = {"training": "seconds", "evaluation": "evaluation_seconds", "final metrics and pictures": "final_seconds"}
"""Kind of work -> its column in a trial's records."""


class Interval(NamedTuple):
    """When something ran, in Unix seconds."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return self.end - self.start


def usable_cores() -> int:
    """The number of cores that this process may use, and so of trials at once."""
    return len(os.sched_getaffinity(0))


def run_module(module: str, *arguments: str, log: Path) -> Interval:
    """Runs `python -m module` until it ends.

    Args:
        module: Its name.
        arguments: Its arguments.
        log: The file for its output.

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
    """The epoch records of every trial."""
    return [list(read_lines(path)) for path in sorted(study.glob("trials/*/attempt-1/metrics.jsonl"))]


def trial_intervals(study: Path) -> list[Interval]:
    """When each trial ran, from its first file to its last, in order of start."""
    attempts = [path.parent for path in study.glob("trials/*/attempt-1/process.json")]
    return sorted(
        Interval((attempt / "process.json").stat().st_mtime, max(file.stat().st_mtime for file in attempt.iterdir()))
        for attempt in attempts
    )


def packing(intervals: Sequence[Interval], slots: int) -> float:
    """Share of the slots' time in which a trial ran, until the last trial started."""
    begin, empty = intervals[0].start, intervals[-1].start
    busy = sum(min(interval.end, empty) - interval.start for interval in intervals)
    return busy / (slots * (empty - begin))


def phase_rows(study: Path, wall: Interval, slots: int) -> list[Row]:
    """Where a study's time went, by its own records: the command's wall time, and its trials' work.

    Args:
        study: Its folder after the command has ended.
        wall: When the command ran.
        slots: Number of trials at once.
    """
    created = datetime.fromisoformat((read_json(study / "study.json") or {})["created"]).timestamp()
    intervals, records = trial_intervals(study), [record for epochs in trial_records(study) for record in epochs]
    first, last = intervals[0].start, max(interval.end for interval in intervals)
    busy = sum(interval.seconds for interval in intervals)
    shares = {name: sum(record.get(key, 0.0) for record in records) / busy for name, key in _WORK.items()}
    return [
        Row("wall: imports and data, s", created - wall.start),
        Row("wall: Ray and shared preparation, s", first - created),
        Row("wall: trials, s", last - first),
        Row("wall: after the last trial, s", wall.end - last),
        *(Row(f"of the trials' time: {name}", share) for name, share in shares.items()),
        Row("of the trials' time: other", 1 - sum(shares.values())),
        Row("packing efficiency", packing(intervals, slots), LEAST_PACKING),
    ]
