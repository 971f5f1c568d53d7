"""The views of a study that MLflow's UI opens at once: its answer as charts, and all its trials as a table.

A view is an experiment tag `mlflow.sharedViewState.<key>`. MLflow 3.17 lists it by its name under *Views*, and a link
with the key opens it. The JSON is what the UI writes itself when a person saves a view; its fields were read from the
UI of MLflow 3.17.2 (`savedViewEnvelope`, `ExperimentPageUIState`, `runs-charts.types`). A server that knows no views
keeps the tags and shows nothing of them.

The UI adds a chart for every metric that a view does not name, in the section of the name's prefix.
"""

from __future__ import annotations

import base64
import itertools
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from study.components import Components
from study.config import EXTRA_ORIGINS, Params, TrialConfig, UserError
from study.disk.files import read_json
from study.disk.layout import OUTCOME, TRIAL, trial_folders
from study.disk.study_json import StudyRecord
from study.disk.timestamp import milliseconds
from study.results.frame import MEMORY, TIMES
from study.tracking.pictures import pictures
from study.tracking.runs import Runs

EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it the UI takes an experiment without traces for one it knows nothing about."""

_TAG = "mlflow.sharedViewState."
_IMPLIED = ("encoder", "regularizer")
"""Parameters that the method's name says."""
_PICTURES_FIRST = ("samples", "fitted_samples", "reconstructions")
_TRADEOFF_PX, _PICTURES_PX = 310, 440
"""Heights of the cards: the scatter plot and the parallel coordinates fit one above the other on a screen."""
_OBJECTIVE_PX = 180
"""Width of an objective's column, so that its name can be read."""
_MOST_PAIRS = 6


def chart_address(study: StudyRecord, experiment_id: str) -> str:
    """Address, within MLflow's UI, of the study's answer as charts."""
    return _address(experiment_id, "CHART", _key(study, "answer"))


def table_address(study: StudyRecord, experiment_id: str) -> str:
    """Address, within MLflow's UI, of the table of all trials, the best in the last objective first."""
    return _address(experiment_id, "TABLE", _key(study, "trials"))


def view_tags(study: StudyRecord, trials: Sequence[Params], images: Iterable[str]) -> dict[str, str]:
    """Tags of the experiment that hold the study's views.

    Args:
        study: What `study.json` says.
        trials: Parameters of the trials of the search.
        images: Keys of the pictures that trials have logged.
    """
    varying = what_varies(trials)
    return {
        _TAG + _key(study, "answer"): _saved(study, "answer", _chart_state(study, varying, trials, images)),
        _TAG + _key(study, "trials"): _saved(study, "trials", _table_state(study, varying)),
    }


def what_varies(trials: Sequence[Params]) -> list[str]:
    """The parameters with more than one value among the trials, or that some lack; in the order of `TrialConfig`."""
    names = dict.fromkeys(name for params in (TrialConfig().to_params(), *trials) for name in params)
    varying = [name for name in names if len({trial.get(name) for trial in trials}) > 1]
    return [name for name in varying if "method" not in varying or name not in _IMPLIED]


class Views:
    """Keeps a study's views in step with its folder.

    Args:
        directory: The study's folder.
        held: The experiment's tags.
    """

    def __init__(self, directory: Path, held: Mapping[str, str]) -> None:
        self._directory = directory
        self._held = dict(held)
        self._trials: dict[int, Params | None] = {}
        self._pictured: set[int] = set()
        self._images: dict[str, None] = {}

    def log(self, runs: Runs, study: StudyRecord) -> None:
        """Writes the tags that have changed, a few times in the life of a study."""
        from mlflow.exceptions import MlflowException

        self._read(study.described)
        trials = [params for _, params in sorted(self._trials.items()) if params is not None]
        wanted = view_tags(study, trials, self._images)
        # A kind that a person has chosen stays.
        wanted |= {name: value for name, value in EXPERIMENT_KIND.items() if name not in self._held}
        for name, value in wanted.items():
            if self._held.get(name) == value:
                continue
            try:
                runs.client.set_experiment_tag(runs.experiment_id, name, value)
            except MlflowException as error:
                if error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                # Servers before 3 took 5,000 characters in place of 20,000.
                runs.problems[f"the view {name.removeprefix(_TAG)} is left out: the server refuses its tag"] = None
            self._held[name] = value

    def _read(self, own: Components) -> None:
        for number, folder in trial_folders(self._directory):
            if number not in self._trials and (record := read_json(folder / TRIAL)) is not None:
                self._trials[number] = _searched_params(record, own)
            if number not in self._pictured and (folder / OUTCOME).exists():
                self._pictured.add(number)
                self._images |= dict.fromkeys(pictures(folder))


def _searched_params(record: Mapping[str, Any], own: Components) -> Params | None:
    """A trial's parameters; None if it is damaged, or repeats another trial's configuration."""
    try:
        if record["origin"] in EXTRA_ORIGINS:
            return None
        return TrialConfig.from_params(record["params"], own).to_params()
    except (KeyError, TypeError, ValueError, AttributeError, UserError):
        return None


def _address(experiment_id: str, mode: str, key: str) -> str:
    # The UI ignores the key if the address also says how to search.
    query = f"workflowType=machine_learning&compareRunsMode={mode}&viewStateShareKey={quote(key, safe='')}"
    return f"#/experiments/{experiment_id}/runs?{query}"


def _key(study: StudyRecord, view: str) -> str:
    return f"{study.name}-{study.id[:8]}-{view}"


def _saved(study: StudyRecord, view: str, state: Mapping[str, Any]) -> str:
    """A view as the UI of 3.17 saves it. Earlier ones read the same fields one level higher."""
    time = milliseconds(study.created, default=0)
    # Compressed as the UI does it, so that both together stay below the 5,000 characters of servers before 3.
    packed = base64.b64encode(zlib.compress(json.dumps(state, separators=(",", ":")).encode(), level=9)).decode()
    envelope = {"name": f"{study.name}: {view}", "createdAt": time, "updatedAt": time, "state": f"deflate;{packed}"}
    return json.dumps({**envelope, **state}, separators=(",", ":"))


def _state(study: StudyRecord, columns: Sequence[str], only: str = "") -> dict[str, Any]:
    """What both views say: which trials, in which order, with which columns; all are shown and not the first ten."""
    objective, direction = list(study.objectives.items())[-1]
    return {
        "searchFilter": f"tags.`study.id` = '{study.id}' and params.latent_dim != ''{only}",
        # Sorted by a metric the list is flat. Sorted by time, the UI's default, it hides trials under their parent.
        "orderByKey": f"metrics.`{objective}`",
        "orderByAsc": direction == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": {f"metrics.`{name}`": _OBJECTIVE_PX for name in study.objectives},
        "runsHiddenMode": "SHOW_ALL",
    }


def _table_state(study: StudyRecord, varying: Sequence[str]) -> dict[str, Any]:
    columns = [*_columns(study, varying), "tags.`trial.outcome`", "tags.`trial.origin`", "attributes.`Models`"]
    return _state(study, columns)


def _columns(study: StudyRecord, varying: Sequence[str]) -> list[str]:
    return [*(f"metrics.`{name}`" for name in study.objectives), *(f"params.`{name}`" for name in varying)]


def _chart_state(
    study: StudyRecord, varying: Sequence[str], trials: Sequence[Params], images: Iterable[str]
) -> dict[str, Any]:
    """The trade-off, what varies, pictures, then the metrics by split; how long things took comes last and closed."""
    finished = " and tags.`trial.outcome` = 'completed'"
    search = "".join(f" and tags.`trial.origin` != '{origin}'" for origin in EXTRA_ORIGINS)
    keys = sorted(set(images), key=_rank)
    first = list(study.objectives)
    # Measured once, at the end. The UI would draw a curve of one point.
    tests = [f"test/{name.removeprefix('val/')}" for name in first if name.startswith("val/")]
    bookkeeping = ("epoch", *TIMES, MEMORY)
    grid = {"imageKeys": keys, "step": _last_step(trials), "showRunParams": False}
    charts = [
        *_scatter_plots(study, varying, trials),
        _chart("PARALLEL", "varying", "Tradeoff", selectedParams=list(varying), selectedMetrics=first),
        *([_chart("IMAGE", "pictures", "Pictures", **grid)] if keys else []),
        # The UI adds a chart for each picture that has none of its own. Deleted ones count, and are not shown.
        *(_chart("IMAGE", f"picture-{key}", "Pictures", imageKeys=[key], deleted=True) for key in keys),
        *(_line(name, name.partition("/")[0]) for name in first),
        *(_chart("BAR", name, "test", metricKey=name) for name in tests),
        *(_line(name, "Time") for name in bookkeeping),
    ]
    sections = [
        _section("Tradeoff", "Trade-off", columns=1, cardHeight=_TRADEOFF_PX),
        *([_section("Pictures", "Pictures", columns=1, cardHeight=_PICTURES_PX)] if keys else []),
        *(_section(split, split) for split in ("val", "test", "train")),
        _section("Time", "Time", display=False),
    ]
    return _state(study, _columns(study, varying), finished + search) | {
        "compareRunSections": sections,
        "compareRunCharts": charts,
        "isAccordionReordered": True,
    }


def _rank(key: str) -> tuple[int, str]:
    return _PICTURES_FIRST.index(key) if key in _PICTURES_FIRST else len(_PICTURES_FIRST), key


def _scatter_plots(study: StudyRecord, varying: Sequence[str], trials: Sequence[Params]) -> list[dict[str, Any]]:
    """Each pair of objectives; a single objective against the first number that varies."""
    metrics = [{"key": name, "type": "METRIC"} for name in study.objectives]
    if len(metrics) > 1:
        pairs = list(itertools.combinations(metrics, 2))[:_MOST_PAIRS]
    else:
        numbers = [name for name in varying if not any(isinstance(trial[name], str) for trial in trials)]
        pairs = [({"key": name, "type": "PARAM"}, metrics[0]) for name in numbers[:1]]
    return [_chart("SCATTER", f"tradeoff-{index}", "Tradeoff", xaxis=x, yaxis=y) for index, (x, y) in enumerate(pairs)]


def _last_step(trials: Sequence[Params]) -> int:
    """The epoch whose pictures the grid shows first: the last of the longest trial."""
    return max((int(trial["epochs"]) for trial in trials), default=0)


def _chart(kind: str, uuid: str, section: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "uuid": uuid, "metricSectionId": section, **fields}


def _line(metric: str, section: str) -> dict[str, Any]:
    # A curve is smoothed unless it says otherwise, which misleads where there are few epochs.
    return _chart("LINE", f"line-{metric}", section, metricKey=metric, isGenerated=True, useGlobalLineSmoothing=True)


def _section(uuid: str, name: str, display: bool = True, **fields: Any) -> dict[str, Any]:
    # As one that a person has ordered: the UI adds charts at its end and does not sort them.
    return {"uuid": uuid, "name": name, "display": display, "isReordered": True, **fields}
