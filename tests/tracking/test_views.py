"""The saved views of a study: what they show, and that they are written once."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from PIL import Image

from study.config import Params, TrialConfig
from study.disk.study_json import StudyRecord, parse_study
from study.tracking import Mirror, default_tracking_uri, sync_study
from study.tracking.store import connect
from study.tracking.views import chart_address, table_address, view_tags, what_varies
from tests.helpers_study import configs, make_study, study_record, write_trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

PREFIX = "mlflow.sharedViewState."
OBJECTIVES = ["val/reconstruction_mse", "val/sample_fid"]
OLD_LIMIT = 5_000
"""Characters of an experiment's tag that servers before 3 took."""


def record(**changes: Any) -> StudyRecord:
    return parse_study(study_record(**changes), "test")


def trials(count: int = 12, epochs: int = 12) -> list[Params]:
    return [config.to_params() for _, config in configs(count, epochs, 0)]


def states(study: StudyRecord, params: list[Params], images: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """What MLflow 3.17 reads from the tags, by the last word of the key."""
    found = {}
    for key, value in view_tags(study, params, images).items():
        envelope = json.loads(value)
        packed = envelope["state"].removeprefix("deflate;")
        found[key.rpartition("-")[2]] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def charts(state: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [chart for chart in state["compareRunCharts"] if chart["type"] == kind and not chart.get("deleted")]


def experiment_of(study: Path) -> tuple[MlflowClient, Experiment]:
    client = connect(default_tracking_uri(study.parent))
    experiment = client.get_experiment_by_name("method")
    assert experiment is not None
    return client, experiment


def views_of(study: Path) -> dict[str, str]:
    _, experiment = experiment_of(study)
    return {key: value for key, value in experiment.tags.items() if key.startswith(PREFIX)}


def synced_by_another_process(study: Path, ended: str | None = None) -> None:
    mirror = Mirror(study, default_tracking_uri(study.parent))
    try:
        mirror.sync(ended)
    finally:
        mirror.release()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the experiment tags that were set, in order."""
    from mlflow import MlflowClient

    keys: list[str] = []
    original = MlflowClient.set_experiment_tag

    def set_experiment_tag(self: MlflowClient, experiment_id: str, key: str, value: Any) -> None:
        keys.append(key)
        original(self, experiment_id, key, value)

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", set_experiment_tag)
    return keys


# --- what they show ------------------------------------------------------------------------------------------------


def test_what_varies() -> None:
    base = TrialConfig().to_params()
    assert what_varies([]) == what_varies([base]) == []
    assert what_varies([base, {**base, "width": 64, "latent_dim": 2}]) == ["latent_dim", "width"]
    methods = [base, TrialConfig(encoder="gaussian", regularizer="kl", weight=1.0).to_params()]
    assert what_varies(methods) == ["method", "weight"]


def test_the_answer_shows_the_objectives_and_what_varies() -> None:
    params = trials()
    answer = states(record(), params)["answer"]
    [scatter] = charts(answer, "SCATTER")
    assert [scatter["xaxis"]["key"], scatter["yaxis"]["key"]] == OBJECTIVES
    [parallel] = charts(answer, "PARALLEL")
    varying = {name for name in params[0] if len({str(trial[name]) for trial in params}) > 1}
    assert set(parallel["selectedParams"]) == varying - {"encoder", "regularizer"}
    assert parallel["selectedMetrics"] == OBJECTIVES
    assert answer["runsHiddenMode"] == "SHOW_ALL"
    names = [section["name"] for section in answer["compareRunSections"]]
    assert names == ["Trade-off", "val", "test", "train", "Time"]
    assert [section["name"] for section in answer["compareRunSections"] if not section["display"]] == ["Time"]
    sections = {section["uuid"] for section in answer["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in answer["compareRunCharts"]} <= sections
    uuids = [chart["uuid"] for chart in answer["compareRunCharts"]]
    assert len(set(uuids)) == len(uuids)


def test_bookkeeping_is_at_the_end() -> None:
    answer = states(record(), trials())["answer"]
    lines = {chart["metricKey"]: chart["metricSectionId"] for chart in charts(answer, "LINE")}
    timed = {name for name, section in lines.items() if section == "Time"}
    assert timed == {"epoch", "seconds", "evaluation_seconds", "final_seconds", "gpu_memory_share"}
    assert answer["compareRunSections"][-1]["uuid"] == "Time"
    assert answer["isAccordionReordered"]  # else the UI sorts the sections by name


def test_the_image_grid_has_all_pictures_of_a_trial_in_one_card() -> None:
    answer = states(record(), trials(epochs=12), ("zoo", "reconstructions", "samples"))["answer"]
    [grid] = charts(answer, "IMAGE")
    assert grid["imageKeys"] == ["samples", "reconstructions", "zoo"]
    assert grid["step"] == 12
    # The UI adds a card for each key that has none of its own.
    alone = [chart["imageKeys"] for chart in answer["compareRunCharts"] if chart.get("deleted")]
    assert sorted(alone) == [["reconstructions"], ["samples"], ["zoo"]]
    assert charts(states(record(), trials())["answer"], "IMAGE") == []


@pytest.mark.parametrize("view", ["answer", "trials"])
def test_columns_are_what_varies_and_the_objectives(view: str) -> None:
    state = states(record(), trials())[view]
    names = [name for name in state["selectedColumns"] if not name.startswith("tags.")]
    assert names == [
        *(f"metrics.`{name}`" for name in OBJECTIVES),
        *(f"params.`{name}`" for name in what_varies(trials())),
        *(["attributes.`Models`"] if view == "trials" else []),
    ]
    assert state["columnOrder"] == state["selectedColumns"]


def test_one_objective_is_drawn_against_the_first_number_that_varies() -> None:
    study = record(objectives={"val/sample_fid": "maximize"})
    answer = states(study, trials())["answer"]
    [scatter] = charts(answer, "SCATTER")
    assert (scatter["xaxis"], scatter["yaxis"]["key"]) == ({"key": "weight", "type": "PARAM"}, "val/sample_fid")
    assert answer["orderByAsc"] is False
    assert charts(states(study, trials(1))["answer"], "SCATTER") == []


def test_three_objectives_are_three_scatter_plots() -> None:
    study = record(objectives=dict.fromkeys([*OBJECTIVES, "test/kl"], "minimize"))
    pairs = [(chart["xaxis"]["key"], chart["yaxis"]["key"]) for chart in charts(states(study, [])["answer"], "SCATTER")]
    assert pairs == [tuple(OBJECTIVES), (OBJECTIVES[0], "test/kl"), (OBJECTIVES[1], "test/kl")]


def test_earlier_servers_read_the_same_view() -> None:
    study = record(name="x" * 100)
    for value in view_tags(study, trials(), ("samples", "fitted_samples", "reconstructions")).values():
        content = json.loads(value)
        packed = content["state"].removeprefix("deflate;")
        state = json.loads(zlib.decompress(base64.b64decode(packed)))
        assert state.items() <= content.items()
        assert (content["createdAt"], content["updatedAt"]) == (1795197600000, 1795197600000)
        assert len(value) < OLD_LIMIT


def test_addresses_have_their_key_and_no_search() -> None:
    study = record()
    for address, mode, view in (
        (chart_address(study, "7"), "CHART", "answer"),
        (table_address(study, "7"), "TABLE", "trials"),
    ):
        page, _, query = address.partition("?")
        assert page == "#/experiments/7/runs"
        key = f"toy-0c5b2f2e-{view}"
        assert parse_qs(query) == {
            "workflowType": ["machine_learning"],
            "compareRunsMode": [mode],
            "viewStateShareKey": [key],
        }
        assert PREFIX + key in view_tags(study, [], ())


# --- on a store ----------------------------------------------------------------------------------------------------


def test_the_link_of_the_note_opens_what_is_stored(runs: Path) -> None:
    study = make_study(runs, trials=12, epochs=6, replicates=1)
    report = sync_study(study, default_tracking_uri(runs))
    client, experiment = experiment_of(study)
    note = client.get_run(report.run_id).data.tags["mlflow.note.content"]
    links = re.findall(r"\]\((#/experiments/[^)\s]+)\)", note.partition("\n")[0])
    assert links[0] == report.page
    found = []
    for link in links:
        state = json.loads(experiment.tags[PREFIX + parse_qs(link.partition("?")[2])["viewStateShareKey"][0]])
        order = f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"
        found.append(client.search_runs([experiment.experiment_id], state["searchFilter"], order_by=[order]))
    answer, table = found
    assert {run.data.tags["trial.outcome"] for run in answer} == {"completed"}
    assert {run.data.tags["trial.origin"] for run in answer} <= {"reference", "first", "search"}
    scores = [run.data.metrics["val/sample_fid"] for run in answer]
    assert scores == sorted(scores)
    assert {run.data.tags["trial.outcome"] for run in table} == {"completed", "stopped", "failed", "interrupted"}
    assert len(answer) < len(table) == report.trials == 14


def test_views_are_written_once_and_rebuilt_the_same(runs: Path, written: list[str]) -> None:
    study = make_study(runs, trials=6, epochs=3, mixed=False)
    (study / "trials/0001/attempt-1/images").mkdir()
    Image.new("L", (8, 8)).save(study / "trials/0001/attempt-1/images/samples.png")
    mirror = Mirror(study, default_tracking_uri(runs))
    for ended in (None, None, "completed"):
        mirror.sync(ended)
    mirror.release()
    assert sorted(written) == sorted({*views_of(study), "mlflow.experimentKind"})
    assert len(written) == 3
    before = views_of(study)
    synced_by_another_process(study, "completed")
    assert len(written) == 3
    client, experiment = experiment_of(study)
    for key in before:
        client.delete_experiment_tag(experiment.experiment_id, key)
    sync_study(study, default_tracking_uri(runs))
    assert views_of(study) == before
    assert len(written) == 5


def test_views_follow_the_study(runs: Path, written: list[str]) -> None:
    study = make_study(runs, trials=0)
    shown = []
    mirror = Mirror(study, default_tracking_uri(runs))
    for number, width in enumerate((32, 32, 64)):
        config = TrialConfig(width=width)
        write_trial(study, number, config, [{"epoch": 1, "time": 1.0, "val/sample_fid": 1.0}])
        mirror.sync()
        [answer] = [json.loads(value) for key, value in views_of(study).items() if key.endswith("answer")]
        shown.append(charts(answer, "PARALLEL")[0]["selectedParams"])
    mirror.release()
    assert shown == [[], [], ["width"]]
    assert written.count("mlflow.experimentKind") == 1
    assert len(written) == 1 + 2 + 2


def test_studies_of_one_experiment_each_have_their_views(runs: Path) -> None:
    for name in ("one", "two"):
        sync_study(make_study(runs, name, trials=2, epochs=1, id=f"{name}-123456"), default_tracking_uri(runs))
    assert sorted(key.removeprefix(PREFIX) for key in views_of(runs / "two")) == [
        *("one-one-1234-answer", "one-one-1234-trials", "two-two-1234-answer", "two-two-1234-trials")
    ]


def test_a_kind_that_a_person_has_chosen_stays(runs: Path) -> None:
    study = make_study(runs, trials=1, epochs=1)
    client = connect(default_tracking_uri(runs))
    experiment_id = client.create_experiment("method", (runs / "mlartifacts").as_uri())
    client.set_experiment_tag(experiment_id, "mlflow.experimentKind", "genai_development")
    sync_study(study, default_tracking_uri(runs))
    _, experiment = experiment_of(study)
    assert experiment.tags["mlflow.experimentKind"] == "genai_development"


def test_a_server_that_refuses_views_holds_up_nothing(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    tried: list[str] = []

    def refuse(self: MlflowClient, experiment_id: str, key: str, value: Any) -> None:
        tried.append(key)
        raise MlflowException("value exceeds the maximum length", INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    study = make_study(runs, trials=2, epochs=2)
    mirror = Mirror(study, default_tracking_uri(runs))
    mirror.sync()
    report = mirror.sync("completed")
    mirror.release()
    assert report.trials == 2
    assert len(tried) == 3
    assert sum("left out" in problem for problem in report.problems) == 3


def test_the_data_set_is_an_input_of_every_run_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    calls: list[str] = []
    original = MlflowClient.log_inputs

    def log_inputs(self: MlflowClient, run_id: str, *args: Any, **kwargs: Any) -> None:
        calls.append(run_id)
        original(self, run_id, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_inputs", log_inputs)
    study = make_study(runs, trials=3, epochs=2)
    for _ in range(2):
        synced_by_another_process(study)
    client, experiment = experiment_of(study)
    found = client.search_runs([experiment.experiment_id])
    assert sorted(calls) == sorted(run.info.run_id for run in found)
    assert len(found) == 4
    for run in found:
        assert run.inputs is not None
        [entry] = run.inputs.dataset_inputs
        assert (entry.dataset.name, entry.dataset.digest) == ("digits", ("d1" * 32)[:16])
        assert json.loads(entry.dataset.profile or "")["num_rows"] == 1077
