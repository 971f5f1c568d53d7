"""The epochs of all trials of a study in one artifact of its parent run, so that a reader needs one download.

The artifact holds one JSON object per trial and epoch: the trial's `number`, the id of its MLflow `run`, and what
`metrics.jsonl` says of the epoch (the newest attempt counts). Values that are not finite are null.
`pandas.read_json("history.jsonl.gz", lines=True)` reads it as well.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import tempfile
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.disk.epochs import Record
from study.disk.layout import trial_path
from study.tracking.runs import Runs, StoredRun
from study.tracking.trial import Trial, finished_epochs

if TYPE_CHECKING:
    from mlflow import MlflowClient

HISTORY = "history.jsonl.gz"
_TAG = "study.history"
_PAUSE_S = 60.0
_LARGEST_SHARE = 0.05
"""Share of the time that a running study may spend on its artifact."""


class History:
    """Keeps the artifact like the runs.

    Args:
        directory: The study's folder.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._finished: dict[int, bytes] = {}
        self._due = time.monotonic() + _PAUSE_S

    def finish(self, trial: Trial, run: StoredRun) -> None:
        """Takes the lines of a trial that has ended, so that they need not be read again."""
        self._finished[trial.number] = _lines(trial.number, run, trial.epochs())

    def log(
        self,
        runs: Runs,
        parent: StoredRun,
        stored: Mapping[int, StoredRun],
        open_trials: Mapping[int, Trial],
        ended: bool,
    ) -> None:
        """Uploads the artifact if the runs have changed since the last upload, which a tag of the parent run tells.

        While the study runs, a minute or more lies between two uploads. Readers ask for the rest run by run.
        """
        states = "".join(f"{number} {run.run_id} {run.epoch} {run.status}\n" for number, run in sorted(stored.items()))
        state = hashlib.sha256(states.encode()).hexdigest()[:16]
        started = time.monotonic()
        if parent.tags.get(_TAG) == state or not (ended or started >= self._due):
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / HISTORY
            with path.open("wb") as file:
                for number, run in sorted(stored.items()):
                    trial = open_trials.get(number)
                    file.write(self._of_finished(number, run) if trial is None else _lines(number, run, trial.epochs()))
            runs.client.log_artifact(parent.run_id, str(path))
        runs.log(parent, {}, {}, {_TAG: state})
        now = time.monotonic()
        self._due = now + max(_PAUSE_S, (now - started) / _LARGEST_SHARE)

    def _of_finished(self, number: int, run: StoredRun) -> bytes:
        if number not in self._finished:
            self._finished[number] = _lines(number, run, finished_epochs(trial_path(self._directory, number)))
        return self._finished[number]


def _lines(number: int, run: StoredRun, epochs: Iterable[Record]) -> bytes:
    """A trial's part of the artifact. Gzip files may be joined, so each part is compressed once."""
    rows = (
        {
            "number": number,
            "run": run.run_id,
            **{name: value if math.isfinite(value) else None for name, value in record.items()},
            "epoch": int(record["epoch"]),
        }
        for record in epochs
    )
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), compresslevel=1, mtime=0)


def read_history(client: MlflowClient, parent_id: str) -> dict[str, list[dict[str, Any]]]:
    """Run id -> epochs, as far as the artifact goes; empty if there is none, as in studies of earlier versions."""
    from mlflow.exceptions import MlflowException

    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            with gzip.open(client.download_artifacts(parent_id, HISTORY, folder)) as file:
                for line in file:
                    row = json.loads(line)
                    if isinstance(row, dict) and isinstance(row.get("epoch"), int):
                        found.setdefault(str(row.pop("run", "")), []).append(row)
        except (MlflowException, OSError, EOFError, zlib.error, ValueError, RecursionError):
            pass  # Not there, or read in the middle of a write: the reader asks for the rest run by run.
    return found
