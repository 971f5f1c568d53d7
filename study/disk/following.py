"""A study's trials as they grow: every read takes in only what is new, so that it can be repeated every few seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.config import TrialConfig
from study.disk.epochs import Record, TrialRecords, counted_epochs
from study.disk.files import read_json
from study.disk.layout import OUTCOME, TRIAL, trial_folders


class FollowedTrial:
    """A trial as far as it has been read.

    Args:
        folder: The trial's folder.
        number: The trial's number.
        content: What its `trial.json` says.

    Attributes:
        outcome: What its `outcome.json` says; None if the trial has not ended.
        epochs: Epoch -> its record, up to the trial's end, as `counted_epochs` counts.
    """

    def __init__(self, folder: Path, number: int, content: Mapping[str, Any]) -> None:
        self.number = number
        self.content = content
        self.outcome: dict[str, Any] | None = None
        self.epochs: dict[int, Record] = {}
        self._folder = folder
        self._records = TrialRecords(folder)
        self._recent: dict[float, tuple[int, float]] = {}

    @property
    def planned(self) -> int:
        """The epochs of its plan."""
        params = self.content.get("params")
        planned = params.get("epochs") if isinstance(params, dict) else None
        return planned if isinstance(planned, int) else TrialConfig.epochs

    def since(self, begun: float) -> tuple[int, float]:
        """How many epochs it has trained since a moment, and when the first of them began; infinity without one.

        Args:
            begun: Unix seconds.
        """
        if begun not in self._recent:
            recent = [record for record in self.epochs.values() if record["time"] >= begun]
            took = ("seconds", "evaluation_seconds")
            starts = (record["time"] - sum(record.get(name, 0.0) for name in took) for record in recent)
            self._recent = {begun: (len(recent), max(begun, min(starts, default=math.inf)))}
        return self._recent[begun]

    def read(self) -> bool:
        """Reads what is new, and returns whether there was anything. A trial that has ended is not read again."""
        if self.outcome is not None:
            return False
        self.outcome = read_json(self._folder / OUTCOME)  # first, since it is written after the last epoch
        grown = self._records.read()
        if grown or self.outcome is not None:
            self._recent = {}
            self.epochs = {epoch: record for epoch, (_, record) in counted_epochs(self._records, self.outcome).items()}
        return grown or self.outcome is not None


class Followed:
    """The trials of a study.

    Args:
        directory: The study's folder. It may be another process, on another machine, that runs the study.

    Attributes:
        trials: By number, in order.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.trials: dict[int, FollowedTrial] = {}

    def read(self) -> bool:
        """Reads what is new, and returns whether there was anything."""
        found = trial_folders(self._directory)
        known = {number: trial for number, _ in found if (trial := self.trials.get(number)) is not None}
        changed = len(known) < len(self.trials)  # a study that begins anew has set its trials aside
        for number, folder in found:
            # A driver that died may have left a folder without the file.
            if number not in known and (content := read_json(folder / TRIAL)) is not None:
                known[number] = FollowedTrial(folder, number, content)
                changed = True
        self.trials = dict(sorted(known.items()))
        grown = [trial.read() for trial in self.trials.values()]
        return changed or any(grown)
