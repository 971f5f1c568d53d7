"""How a search progresses: its hypervolume, and `progress.jsonl` with one line for each trial that has ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from study.config import Origin
from study.disk.files import write_atomic
from study.disk.layout import progress_path
from study.search.hypervolume import FrontVolume
from study.search.trial_record import Ending, origin_of

_REFERENCE_POINT = "hypervolume_reference"


class SearchProgress:
    """The progress of a study's search, rebuilt from the trials that have ended, in the order in which they did.

    The reference point of the hypervolume is an attribute of the Optuna study as soon as it is settled: the study keeps
    it for ever.

    Args:
        study: The Optuna study.
        directions: `minimize` or `maximize` by objective.
        directory: The study's folder.
        trials: The search's trials.

    Attributes:
        stale: Trials that have ended since the front last grew; 0 until there is a hypervolume.
    """

    def __init__(
        self, study: optuna.Study, directions: Mapping[str, str], directory: Path, trials: Sequence[FrozenTrial]
    ) -> None:
        self._study = study
        self._path = progress_path(directory)
        reference = study.user_attrs.get(_REFERENCE_POINT)
        self._volume, self._is_reference_stored = FrontVolume(directions, reference), reference is not None
        self.stale = self._epochs = 0
        self._lines: list[str] = []
        ended = [trial for trial in trials if trial.state.is_finished()]
        for trial in sorted(ended, key=lambda trial: (trial.datetime_complete or datetime.min, trial.number)):
            if ending := Ending.of(trial.user_attrs):
                self._advance(trial.number, origin_of(trial.user_attrs), ending)
        self._store_reference()

    @property
    def reference(self) -> list[float] | None:
        """The reference point, see `FrontVolume`; None until it is settled."""
        return None if self._volume.reference is None else self._volume.reference.tolist()

    def add(self, number: int, origin: Origin, ending: Ending) -> None:
        """Takes in a trial that has ended just now."""
        self._advance(number, origin, ending)
        self._store_reference()
        with open(self._path, "a") as file:
            file.write(self._lines[-1])

    def reconcile(self) -> None:
        """Rewrites the file if it does not hold exactly the lines of the trials that have ended."""
        content = "".join(self._lines).encode()
        if content and (not self._path.exists() or self._path.read_bytes() != content):
            write_atomic(self._path, content)

    def _store_reference(self) -> None:
        if self.reference is not None and not self._is_reference_stored:
            self._study.set_user_attr(_REFERENCE_POINT, self.reference)
            self._is_reference_stored = True

    def _advance(self, number: int, origin: Origin, ending: Ending) -> None:
        grew = ending.values is not None and self._volume.add(ending.values, ending.may_join_front(origin))
        self.stale = 0 if grew or self._volume.value is None else self.stale + 1
        self._epochs += ending.epochs
        line: dict[str, Any] = {
            "number": number,
            "outcome": ending.outcome,
            "epochs": self._epochs,
            "hypervolume": self._volume.value,
            "stale": self.stale,
            "time": datetime.fromisoformat(ending.ended).timestamp(),
        }
        self._lines.append(json.dumps(line) + "\n")
