"""A study as tidy tables, read from its folder or from MLflow; every figure and the report use only these."""

from __future__ import annotations

import dataclasses
import functools
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.built_in import BUILT_IN
from study.components import FIELDS
from study.config import PARAMS, TrialConfig, UserError
from study.disk.epochs import TrialRecords, counted_epochs
from study.disk.files import read_json
from study.disk.layout import (
    ARRAYS,
    OUTCOME,
    TRIAL,
    attempt_folders,
    figure_path,
    find_study,
    trial_folders,
    trial_path,
)
from study.disk.study_json import StudyRecord, read_study

METRIC_PREFIXES = ("train/", "val/", "test/")
TIMES = ("seconds", "evaluation_seconds", "final_seconds")
"""Wall time of an epoch's training steps, of its evaluation, and of the test metrics and pictures after training."""
MEMORY = "gpu_memory_share"
"""The largest share of its GPU's memory that a trial held; a trial on a CPU has none."""

_SPLITS = {"val": "validation"}
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrialConfig) if field.name in PARAMS}
_KINDS = ("network", "likelihood", "annealing", "learning_rate_schedule", "perceptual_weight",
          "total_variation_weight", "precision")  # fmt: skip
Arrays = dict[str, np.ndarray]
ArraySource = Callable[[int], "Arrays | None"]
"""Trial number -> its arrays (see `study.measure.pictures`), or None."""
PictureSource = Callable[[str], "bytes | None"]
"""Name of a figure of the space's own -> the PNG that the study's end has left, or None."""


@dataclasses.dataclass(frozen=True)
class StudyFrames:
    """One or several studies as tables.

    Attributes:
        records: What the `study.json` of each study holds.
        trials: One row per trial: `study`, `number`, `origin`, `outcome`, `reason`, `replicate_of` (NaN if none),
            `epochs_done`, the `TIMES` (summed over the epochs kept), `MEMORY`, `last_time` (of its last epoch), every
            `TrialConfig` parameter under its own name (`epochs` is the plan), and every metric with its value in the
            trial's LAST epoch (never the best; NaN if that epoch did not measure it).
        history: One row per trial and epoch: `study`, `number`, `epoch`, `time` (Unix seconds), the `TIMES`, `MEMORY`
            and the metrics.
        sources: Study name -> function that loads a trial's arrays; only figures of pictures need it.
        pictures: Study name -> function that loads a figure of the space's own.
    """

    records: tuple[StudyRecord, ...]
    trials: pd.DataFrame
    history: pd.DataFrame
    sources: Mapping[str, ArraySource] = dataclasses.field(default_factory=dict)
    pictures: Mapping[str, PictureSource] = dataclasses.field(default_factory=dict)

    @property
    def study(self) -> StudyRecord:
        """The record of the first study; all have its objectives and data."""
        return self.records[0]

    @property
    def name(self) -> str:
        """The names of the studies."""
        return " + ".join(record.name for record in self.records)

    @property
    def objectives(self) -> dict[str, str]:
        """Metric column -> `minimize` or `maximize`, in the study's order."""
        return dict(self.study.objectives)

    def column(self, name: str) -> np.ndarray:
        """A numeric column of `trials` as float64 [trials]; all NaN if there is no such column."""
        if name not in self.trials:
            return np.full(len(self.trials), np.nan)
        values: Any = pd.to_numeric(self.trials[name], errors="coerce")
        return values.to_numpy(dtype=np.float64, na_value=np.nan)

    def is_number(self, name: str) -> bool:
        """Whether a column of `trials` has a number for every trial."""
        return bool(np.isfinite(self.column(name)).all()) and (
            name not in self.trials or self.trials[name].dtype.kind in "if"
        )

    def text(self, name: str) -> np.ndarray:
        """A column of `trials` as strings [trials]; "" if unknown."""
        if name not in self.trials:
            return np.full(len(self.trials), "", dtype=np.str_)
        values: Any = self.trials[name].astype("str").fillna("")
        return values.to_numpy(dtype=np.str_)

    def labels(self) -> np.ndarray:
        """Each trial's label: its number, with `study/` in front if there are several studies, [trials]."""
        studies, numbers = self.text("study"), self.text("number")
        several = len(set(studies)) > 1
        return np.array([f"{s}/{n}" if several else n for s, n in zip(studies, numbers, strict=True)], dtype=np.str_)

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Hyperparameters of components, such as `mine.depth`, that are columns of `trials`."""
        described = (name for record in self.records for name in record.described.parameters)
        return tuple(name for name in dict.fromkeys([*described, *BUILT_IN.parameters]) if name in self.trials)

    @functools.cached_property
    def kinds(self) -> tuple[str, ...]:
        """Parameters in which trials differ that say what kind of model one is, beside its method: few, for labels."""
        counts = {name: len(set(self.text(name)) - {"nan"}) for name in (*_KINDS, *self.own_parameters)}
        own = [name for name in self.own_parameters if 1 < counts[name] <= 4]
        return (*(name for name in _KINDS if counts[name] > 1), *own[:2])

    def curve(self, row: int, column: str) -> tuple[np.ndarray, np.ndarray]:
        """A metric of the trial in that row over its epochs: (epochs, values), only of epochs that measured it."""
        trial = self.trials.iloc[row]
        lines = self._history_rows.get((trial["study"], trial["number"]))
        if lines is None or column not in self.history:
            return np.empty(0), np.empty(0)
        values = self.history[column].to_numpy(dtype=np.float64)[lines]
        measured = np.isfinite(values)
        return self.history["epoch"].to_numpy(dtype=np.float64)[lines][measured], values[measured]

    @functools.cached_property
    def _history_rows(self) -> dict[Any, np.ndarray]:
        return self.history.groupby(["study", "number"]).indices

    def arrays(self, row: int) -> Arrays | None:
        """The pictures and codes that the trial in that row saved, or None."""
        trial = self.trials.iloc[row]
        source = self.sources.get(str(trial["study"]))
        return None if source is None else source(int(trial["number"]))

    def real_data(self, metric: str) -> float | None:
        """The real-data baseline of a metric column: training images in place of generated ones, or None."""
        split, _, name = metric.rpartition("/")
        value = self.study.evaluation.get("real_data", {}).get(_SPLITS.get(split, split), {}).get(name)
        return None if value is None else float(value)

    def pca(self, split: str) -> dict[int, float]:
        """Latent size -> per-pixel reconstruction error of PCA, on the split with that metric prefix."""
        found = self.study.evaluation.get("pca", {}).get(_SPLITS.get(split, split), {})
        return {int(size): float(error) for size, error in found.items()}

    def nothing(self, why: str) -> str:
        """One line for a figure that cannot be drawn: the study, why, and its trials by outcome."""
        counts = Counter(self.text("outcome").tolist())
        states = ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no trial yet"
        return f"study {self.name}: nothing to draw, {why} ({states})"

    def keep(self, rows: np.ndarray) -> StudyFrames:
        """The frames with only the marked trials (boolean [trials]) and the whole history."""
        return dataclasses.replace(self, trials=self.trials[rows].reset_index(drop=True))


def load_study(runs_dir: Path, name: str) -> StudyFrames:
    """Reads `runs_dir/name`, finished or still running.

    A torn last line of `metrics.jsonl` is ignored. For each epoch, the newest attempt wins. Epochs after the end of a
    completed or stopped trial are ignored, since an orphaned process may still write them.

    Raises:
        UserError: The study does not exist, or its `study.json` is damaged.
    """
    directory = find_study(Path(runs_dir), name)
    study = read_study(directory)
    assert study is not None  # find_study has seen it
    records: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    for number, folder in trial_folders(directory):
        trial = read_json(folder / TRIAL)
        if trial is None:  # the driver died after it made the folder
            continue
        outcome = read_json(folder / OUTCOME) or {}
        records.append(trial_row(study, number, trial, outcome))
        epochs.extend(_epochs(folder, number, outcome))
    frames = build_frames(study, records, epochs, {study.name: functools.partial(_arrays_on_disk, directory)})
    return dataclasses.replace(frames, pictures={study.name: functools.partial(_picture_on_disk, directory)})


def build_frames(
    study: StudyRecord,
    records: list[dict[str, Any]],
    epochs: list[dict[str, Any]] | pd.DataFrame,
    sources: Mapping[str, ArraySource],
) -> StudyFrames:
    """Builds frames from trial and epoch records; the leading columns and dtypes are fixed, whatever is missing."""
    name = study.name
    history: Any = pd.DataFrame(epochs)  # Any: pandas' types do not distinguish a column from a table
    for column in {"number", "epoch", "time", *TIMES, MEMORY} - {*history}:
        history[column] = np.nan
    metrics = sorted(column for column in history if str(column).startswith(METRIC_PREFIXES))
    history = history[["number", "epoch", "time", *TIMES, MEMORY, *metrics]]
    history = history.apply(pd.to_numeric, errors="coerce").astype("float64")
    history = history.where(np.isfinite(history))  # MLflow cannot store an infinity
    history["time"] = np.floor(1000 * history["time"]) / 1000  # milliseconds, as MLflow stores it
    history = history.astype({"number": "int64", "epoch": "int64"}).sort_values(["number", "epoch"], ignore_index=True)
    history.insert(0, "study", pd.Series(name, index=history.index, dtype="str"))

    given = {key: kind for key, kind in BUILT_IN.parameters.items() if any(key in record for record in records)}
    trials: Any = pd.DataFrame([_complete(record, given) for record in records])
    fixed = {"number": "int", "origin": "str", "outcome": "str", "reason": "str", "replicate_of": "float"}
    params = {"method": "str", **PARAMS, **study.described.parameters, **given}
    others = sorted(set(trials) - set(fixed) - set(params))
    for column, kind in {**fixed, **params}.items():
        if column not in trials:
            trials[column] = None
        trials[column] = _typed(trials[column], kind)
    trials = trials[[*fixed, *params, *others]].sort_values("number", ignore_index=True)
    trials.insert(0, "study", pd.Series(name, index=trials.index, dtype="str"))
    groups = history.groupby("number")
    trials["epochs_done"] = trials["number"].map(groups["epoch"].max()).fillna(0).astype("int64")
    for column in TIMES:
        trials[column] = trials["number"].map(groups[column].sum(min_count=1)).astype("float64")
    for column, source in {MEMORY: MEMORY, "last_time": "time"}.items():
        trials[column] = trials["number"].map(groups[source].max()).astype("float64")
    last = history.drop_duplicates("number", keep="last")[["number", *metrics]]
    return StudyFrames((study,), trials.merge(last, on="number", how="left"), history, sources)


def _complete(record: dict[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """A trial with the defaults of what it leaves out: later parameters, and hyperparameters that other trials give."""
    left_out = {key: BUILT_IN.defaults[key] for key in given if key.partition(".")[0] in map(record.get, FIELDS)}
    return {**_DEFAULTS, **left_out, **record} if "network" in record else record


def join_studies(studies: Iterable[StudyFrames]) -> StudyFrames:
    """Joins several studies for one plot; `study` and `number` together identify a row.

    Raises:
        UserError: The studies differ in their objectives, data or feature networks, so one plot would mislead.
    """
    parts = list(studies)
    if len(parts) == 1:
        return parts[0]
    first = parts[0].study
    for part in parts[1:]:
        if part.objectives != parts[0].objectives:
            raise UserError(
                f"studies {first.name} and {part.study.name} have different objectives: plot them separately"
            )
        if part.study.data.hash != first.data.hash:
            raise UserError(f"studies {first.name} and {part.study.name} use different data: plot them separately")
        if part.study.instruments != first.instruments:
            raise UserError(
                f"studies {first.name} and {part.study.name} were measured with different feature networks: plot them "
                "separately"
            )
    return StudyFrames(
        tuple(part.study for part in parts),
        pd.concat([part.trials for part in parts], ignore_index=True),
        pd.concat([part.history for part in parts], ignore_index=True),
        {name: source for part in parts for name, source in part.sources.items()},
        {name: source for part in parts for name, source in part.pictures.items()},
    )


def trial_row(study: StudyRecord, number: int, trial: Mapping[str, Any], outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A trial without its metrics; without an outcome it is running if its study is, else interrupted."""
    unfinished = "running" if study.outcome == "running" else "interrupted"
    return {
        **trial.get("params", {}),
        "number": number,
        "origin": trial.get("origin", "search"),
        "outcome": outcome.get("outcome", unfinished),
        "reason": outcome.get("reason"),
        "replicate_of": trial.get("replicate_of"),
    }


def _epochs(folder: Path, number: int, outcome: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    records = TrialRecords(folder)
    records.read()
    for _, record in counted_epochs(records, outcome).values():
        yield {**record, "number": number}


def _arrays_on_disk(directory: Path, number: int) -> Arrays | None:
    for _, attempt in reversed(attempt_folders(trial_path(directory, number))):
        if (attempt / ARRAYS).is_file():
            return read_arrays(attempt / ARRAYS)
    return None


def _picture_on_disk(directory: Path, name: str) -> bytes | None:
    path = figure_path(directory, name)
    return path.read_bytes() if path.is_file() else None


def read_arrays(path: Path) -> Arrays | None:
    """The arrays in a file, or None if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def _typed(values: Any, kind: str) -> Any:
    if kind == "str":
        return values.astype("str")
    if kind == "bool":
        known = {"True": True, "False": False}
        return values.map(lambda value: known.get(str(value), np.nan)).astype("object")
    numbers: Any = pd.to_numeric(values, errors="coerce")
    numbers = numbers.astype("float64")
    return numbers.astype("int64") if kind == "int" and bool(numbers.notna().all()) else numbers
