from __future__ import annotations

import http.server
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from study.cli import command_status
from study.config import TrialConfig, UserError
from study.disk.epochs import TrialRecords, parse_record, same_values
from study.disk.files import write_json
from study.sync import main as sync_command
from study.tracking import Mirror, default_tracking_uri, location, sync_study
from study.tracking import mirror as mirror_module
from study.tracking.store import connect
from tests.helpers_study import configs, make_study, metrics_at, study_record, write_trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow's own table definitions use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

Histories = dict[int, dict[str, list[tuple[int, float]]]]


def uri_of(study: Path) -> str:
    return default_tracking_uri(study.parent)


def once(study: Path, ended: str | None = None) -> None:
    """One pass by a process of its own: nothing is remembered from the last."""
    mirror = Mirror(study, uri_of(study))
    try:
        mirror.sync(ended)
    finally:
        mirror.release()


def client_of(study: Path) -> MlflowClient:
    return connect(uri_of(study))


def runs_of(study: Path) -> tuple[Run, dict[int, Run]]:
    """The parent run and the child runs by trial number; asserts that there is one of each."""
    client = client_of(study)
    experiment = client.get_experiment_by_name("method")
    assert experiment is not None
    found = list(client.search_runs([experiment.experiment_id], max_results=5000))
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    by_number = {int(run.data.tags["trial.number"]): run for run in children}
    assert len(by_number) == len(children)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} <= {parents[0].info.run_id}
    return parents[0], by_number


def logged(study: Path) -> Histories:
    client = client_of(study)
    return {
        number: {
            name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
            for name in run.data.metrics
        }
        for number, run in runs_of(study)[1].items()
    }


def written(study: Path) -> Histories:
    """What the study's files say, read without any of the code under test."""
    histories: Histories = {}
    for trial in sorted((study / "trials").iterdir()):
        by_epoch: dict[int, dict[str, float]] = {}
        for attempt in sorted(trial.glob("attempt-*")):
            for line in (attempt / "metrics.jsonl").read_text().splitlines():
                if line.endswith("}"):
                    by_epoch[json.loads(line)["epoch"]] = json.loads(line)
        history: dict[str, list[tuple[int, float]]] = {}
        for epoch in sorted(by_epoch):
            for name, value in by_epoch[epoch].items():
                if name != "time":
                    history.setdefault(name, []).append((epoch, value))
        histories[int(trial.name)] = history
    return histories


def assert_mirrored(study: Path) -> None:
    """Every history is in MLflow, without gaps or repeats, value for value; NaN equals NaN."""
    assert repr(_floats(logged(study))) == repr(_floats(written(study)))


def _floats(histories: Histories) -> Any:
    return [
        (number, [(name, [(step, float(value)) for step, value in points]) for name, points in sorted(history.items())])
        for number, history in sorted(histories.items())
    ]


def rows(count: int, first: int = 1, **changes: float) -> list[dict[str, Any]]:
    import numpy as np

    config = configs(2, 60, 0)[1][1]
    return [
        {
            "epoch": epoch,
            "time": 1.79e9 + epoch,
            "seconds": 0.05,
            **metrics_at(config, epoch, np.random.default_rng(epoch)),
            **changes,
        }
        for epoch in range(first, first + count)
    ]


def one_trial(runs: Path, records: list[dict[str, Any]], outcome: str = "running") -> Path:
    study = make_study(runs, trials=0)
    write_trial(study, 0, configs(2, 60, 0)[1][1], records, outcome=outcome)
    return study


def add_attempt(study: Path, number: int, records: list[dict[str, Any]]) -> None:
    folder = study / "trials/0000" / f"attempt-{number}"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))


def end_trial(study: Path, outcome: str, epochs: int) -> None:
    record = {"outcome": outcome, "reason": None, "values": None, "epochs": epochs, "ended": "2026-11-20T18:03:00Z"}
    (study / "trials/0000/outcome.json").write_text(json.dumps(record))


# --- a study as a whole --------------------------------------------------------------------------------------------


def test_whole_study(runs: Path) -> None:
    study = make_study(runs, trials=14, epochs=7, replicates=1)
    report = sync_study(study, uri_of(study))
    assert_mirrored(study)
    parent, children = runs_of(study)
    assert (report.trials, report.created, report.problems) == (16, 17, ())
    assert report.epochs == sum(len(history["epoch"]) for history in written(study).values())
    assert report.run_id == parent.info.run_id

    status = {number: run.info.status for number, run in children.items()}
    assert status == {n: "FINISHED" for n in range(16)} | {9: "FAILED", 13: "KILLED"} | {14: "FINISHED", 15: "FINISHED"}
    outcomes = [children[n].data.tags["trial.outcome"] for n in (0, 6, 9, 13)]
    assert outcomes == ["completed", "stopped", "failed", "interrupted"]
    assert {run.data.tags["trial.device"] for run in children.values()} == {"unknown"}
    assert children[9].data.tags["trial.reason"] == "loss is nan at epoch 3"
    assert children[0].info.run_name == "0000 AE d=8"
    assert children[1].info.run_name == "0001 VAE d=8 w=0.047"
    assert children[14].data.tags["trial.replicate_of"] == "0"
    for number, run in children.items():
        params = json.loads((study / "trials" / f"{number:04d}" / "trial.json").read_text())["params"]
        assert run.data.params == {name: str(value) for name, value in params.items()}
        assert TrialConfig.from_params(run.data.params) == TrialConfig.from_params(params)
        assert (run.data.tags["data.hash"], run.data.tags["study.name"]) == ("d1" * 32, "toy")
        assert run.info.start_time == 1795197605000
    assert children[0].info.end_time == 1795197780000
    assert children[13].info.end_time == 1790000130200

    assert (parent.info.run_name, parent.info.status) == ("toy", "FINISHED")
    assert (parent.info.start_time, parent.info.end_time) == (1795197600000, 1795197780000)
    assert parent.data.params["objectives"] == "val/reconstruction_mse (minimize), val/sample_fid (minimize)"
    assert parent.data.tags["study.num_trials"] == "14"
    assert parent.data.tags["version.torch"] == "2.15.0"
    for run in (parent, *children.values()):
        source = {name: value for name, value in run.data.tags.items() if name.startswith("mlflow.source.")}
        assert source == {
            "mlflow.source.git.commit": "0123456789abcdef0123456789abcdef01234567",
            "mlflow.source.name": "python -m study.run",
            "mlflow.source.type": "LOCAL",
        }


@pytest.mark.parametrize("fresh_process", [False, True])
def test_hypervolume_over_epochs_spent_is_on_the_parent_run_once(runs: Path, fresh_process: bool) -> None:
    study = make_study(runs, trials=2)
    volumes = [(12, None), (20, 1.0), (20, 1.0), (32, 1.5), (44, 1.5)]
    lines = [
        json.dumps({"number": n, "outcome": "completed", "epochs": epochs, "hypervolume": volume, "time": 1.79e9 + n})
        for n, (epochs, volume) in enumerate(volumes)
    ]
    mirror = Mirror(study, uri_of(study))
    for count in (0, 2, 3, 5, 5):
        (study / "progress.jsonl").write_text("".join(line + "\n" for line in lines[:count]))
        if fresh_process:
            mirror.release()
            mirror = Mirror(study, uri_of(study))
        mirror.sync()
    mirror.release()
    parent, _ = runs_of(study)
    history = client_of(study).get_metric_history(parent.info.run_id, "search/hypervolume")
    assert [(point.step, point.value) for point in history] == [(20, 1.0), (32, 1.5), (44, 1.5)]


def test_second_pass_writes_nothing(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(runs, trials=8, epochs=3)
    sync_study(study, uri_of(study))
    before = runs_of(study)
    again = sync_study(study, uri_of(study))
    assert (again.created, again.epochs, again.trials) == (0, 0, 8)
    after = runs_of(study)
    assert {n: run.info.run_id for n, run in before[1].items()} == {n: run.info.run_id for n, run in after[1].items()}
    assert_mirrored(study)


def test_finished_trials_cost_nothing(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(runs, trials=8, epochs=3)  # the last one still runs
    read: list[TrialRecords] = []
    original = TrialRecords.read
    monkeypatch.setattr(TrialRecords, "read", lambda self: read.append(self) or original(self))
    for passes in (Mirror(study, uri_of(study)), Mirror(study, uri_of(study))):
        passes.sync()
        passes.release()
    assert len(read) == 8 + 1
    passes = Mirror(study, uri_of(study))
    passes.sync()
    read.clear()
    passes.sync()
    passes.release()
    assert len(read) == 1


def test_growing_study_is_followed_line_by_line(runs: Path) -> None:
    study = one_trial(runs, [])
    path = study / "trials/0000/attempt-1/metrics.jsonl"
    mirror = Mirror(study, uri_of(study))
    lines = "".join(json.dumps(row) + "\n" for row in rows(9))
    for start in range(0, len(lines), 700):  # cut anywhere, in the middle of lines too
        with path.open("a") as file:
            file.write(lines[start : start + 700])
        mirror.sync()
    assert_mirrored(study)
    assert runs_of(study)[1][0].info.status == "RUNNING"
    write_trial(study, 1, TrialConfig(epochs=2), rows(2))
    end_trial(study, "completed", 9)
    mirror.sync()
    mirror.release()
    assert_mirrored(study)
    assert [run.info.status for _, run in sorted(runs_of(study)[1].items())] == ["FINISHED", "FINISHED"]


@pytest.mark.parametrize("torn", [0, 1, 40])
def test_killed_driver_and_its_successor(runs: Path, torn: int) -> None:
    study = make_study(runs, trials=4, epochs=8)
    whole = {path: path.read_text() for path in study.glob("trials/*/attempt-1/metrics.jsonl")}
    ends = {path: path.read_text() for path in study.glob("trials/*/outcome.json")}
    for path in ends:
        path.unlink()
    for path, text in whole.items():
        path.write_text("".join(text.splitlines(keepends=True)[:4])[: -torn or None])
    once(study)
    first = {number: run.info.run_id for number, run in runs_of(study)[1].items()}
    assert len(first) == 4
    for path, text in [*whole.items(), *ends.items()]:
        path.write_text(text)
    once(study, "completed")
    assert_mirrored(study)
    parent, children = runs_of(study)
    assert {number: run.info.run_id for number, run in children.items()} == first
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}


def test_interrupted_study_is_taken_up_again(runs: Path) -> None:
    study = one_trial(runs, rows(3))
    once(study, "interrupted")
    parent, children = runs_of(study)
    assert (parent.info.status, children[0].info.status) == ("KILLED", "KILLED")
    assert children[0].data.tags["trial.outcome"] == "interrupted"
    assert children[0].info.end_time == 1790000003000
    once(study)
    parent, children = runs_of(study)
    assert (parent.info.status, children[0].info.status) == ("RUNNING", "RUNNING")
    assert children[0].data.tags["trial.outcome"] == "running"
    add_attempt(study, 2, rows(3, first=4))
    end_trial(study, "completed", 6)
    (study / "study.json").write_text(json.dumps(study_record("toy", num_trials=50)))
    once(study, "completed")
    parent, children = runs_of(study)
    assert (parent.info.status, children[0].info.status) == ("FINISHED", "FINISHED")
    assert parent.data.tags["study.num_trials"] == "50"
    assert_mirrored(study)


# --- attempts ------------------------------------------------------------------------------------------------------


def test_a_trial_that_moved_to_another_kind_of_device_says_so(runs: Path) -> None:
    study = one_trial(runs, rows(3))
    add_attempt(study, 2, rows(2, first=4))
    add_attempt(study, 3, rows(1, first=6))
    for attempt, process in ((1, {"device": "cuda"}), (2, {"device": "cpu"}), (3, {"device": "cpu"})):
        write_json(study / f"trials/0000/attempt-{attempt}/process.json", process)
    once(study)
    assert runs_of(study)[1][0].info.status == "RUNNING"
    assert runs_of(study)[1][0].data.tags["trial.device"] == "cuda, cpu"


@pytest.mark.parametrize("fresh_process", [False, True])
@pytest.mark.parametrize("first", [1, 4, 6])
def test_resumed_attempt_repeats_epochs(runs: Path, first: int, fresh_process: bool) -> None:
    """The new attempt measures the same again, as on a CPU, however long it takes: nothing is logged twice."""
    study = one_trial(runs, rows(5))
    mirror = Mirror(study, uri_of(study))
    mirror.sync()
    run_id = runs_of(study)[1][0].info.run_id
    for stage in (rows(1, first=first, seconds=0.09, time=1.795e9), rows(9 - first, first=first)):
        shutil.rmtree(study / "trials/0000/attempt-2", ignore_errors=True)
        add_attempt(study, 2, stage)
        if fresh_process:
            mirror.release()
            mirror = Mirror(study, uri_of(study))
        report = mirror.sync()
    mirror.release()
    history = logged(study)[0]
    assert [step for step, _ in history["epoch"]] == list(range(1, 9))
    assert history["train/loss"] == written(study)[0]["train/loss"]
    assert runs_of(study)[1][0].info.run_id == run_id
    assert report.problems == ()


@pytest.mark.parametrize("fresh_process", [False, True])
def test_attempt_that_goes_another_way_replaces_the_run(runs: Path, fresh_process: bool) -> None:
    study = one_trial(runs, rows(5))
    mirror = Mirror(study, uri_of(study))
    mirror.sync()
    run_id = runs_of(study)[1][0].info.run_id
    for count in (1, 2, 6):
        shutil.rmtree(study / "trials/0000/attempt-2", ignore_errors=True)
        add_attempt(study, 2, [*rows(1, first=3), *rows(count - 1, first=4, **{"train/loss": 3.25})])
        if fresh_process:
            mirror.release()
            mirror = Mirror(study, uri_of(study))
        mirror.sync()
        assert_mirrored(study)
    mirror.release()
    assert runs_of(study)[1][0].info.run_id != run_id
    once(study)
    assert_mirrored(study)


def test_orphan_that_wrote_past_the_end(runs: Path) -> None:
    study = one_trial(runs, rows(6))
    once(study)
    end_trial(study, "stopped", 4)
    once(study, "completed")
    assert [step for step, _ in logged(study)[0]["epoch"]] == [1, 2, 3, 4]
    assert runs_of(study)[1][0].info.status == "FINISHED"


def test_failed_trial_keeps_all_its_epochs(runs: Path) -> None:
    """Its outcome counts only what it reported; the epochs since show what went wrong."""
    study = one_trial(runs, [*rows(2), *rows(1, first=3, **{"train/loss": math.nan, "train/penalty": -math.inf})])
    end_trial(study, "failed", 2)
    once(study, "failed")
    parent, children = runs_of(study)
    assert (parent.info.status, children[0].info.status) == ("FAILED", "FAILED")
    history = logged(study)[0]
    assert [math.isnan(value) for _, value in history["train/loss"]] == [False, False, True]
    assert math.isnan(history["train/penalty"][2][1])


# --- failures of the store -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer_lost", [False, True])
@pytest.mark.parametrize("method", ["create_run", "log_batch", "set_terminated", "log_artifact"])
def test_store_that_fails_now_and_then(
    runs: Path, method: str, answer_lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third call fails, before it took effect or after."""
    from mlflow import MlflowClient

    study = make_study(runs, trials=5, epochs=2)
    original = getattr(MlflowClient, method)
    calls = 0

    def flaky(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 3 == 0 and not answer_lost:
            raise ConnectionError("no connection")
        result = original(*args, **kwargs)
        if calls % 3 == 0:
            raise ConnectionError("no answer")
        return result

    monkeypatch.setattr(MlflowClient, method, flaky)
    mirror = Mirror(study, uri_of(study))
    failures = 0
    while True:
        try:
            mirror.sync("completed")
            break
        except ConnectionError:
            failures += 1
            assert failures < 50
    mirror.release()
    assert failures > 0 or method == "log_artifact"
    assert_mirrored(study)
    assert runs_of(study)[0].info.status == "FINISHED"


def test_runs_that_were_created_twice_become_one(runs: Path) -> None:
    study = make_study(runs, trials=3, epochs=2)
    once(study)
    parent, children = runs_of(study)
    for run in (parent, children[1]):
        client_of(study).create_run(run.info.experiment_id, run.info.start_time, run.data.tags, run.info.run_name)
    once(study, "completed")
    assert_mirrored(study)
    assert runs_of(study)[0].info.status == "FINISHED"


def test_request_given_up_as_lost_and_carried_out_later_leaves_no_run(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    study = make_study(runs, trials=2, epochs=2)
    original = MlflowClient.create_run
    late: list[Callable[[], Any]] = []

    def create_run(*args: Any, **kwargs: Any) -> Any:
        if not late:
            late.append(lambda: original(*args, **kwargs))
            raise ConnectionError("no answer")
        return original(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    mirror = Mirror(study, uri_of(study), interval=0.01, report=lambda line: None)
    mirror.start()
    while mirror.last_report is None:
        time.sleep(0.01)
    late[0]()
    assert mirror.close(60, "completed")
    assert_mirrored(study)


def test_run_deleted_by_hand_comes_back_and_holds_up_nobody(runs: Path) -> None:
    study = make_study(runs, trials=0)
    for number in range(3):
        write_trial(study, number, TrialConfig(epochs=4), rows(2), outcome="running")
    mirror = Mirror(study, uri_of(study))
    mirror.sync()
    client_of(study).delete_run(runs_of(study)[1][0].info.run_id)
    for number in range(3):
        path = study / "trials" / f"{number:04d}" / "attempt-1/metrics.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(4)))
    with pytest.raises(Exception, match="active"):
        mirror.sync()
    assert [len(history["epoch"]) for history in logged(study).values()] == [4, 4]
    mirror.sync()
    mirror.release()
    assert_mirrored(study)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Starts a server that is no MLflow: `refused`, `500`, or `silent` (takes the request and never answers)."""
    for name, value in {"MAX_RETRIES": "0", "TIMEOUT": "1"}.items():
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    released = threading.Event()
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(kind: str) -> str:
        if kind == "refused":
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                return f"http://user:hunter2@127.0.0.1:{unused.getsockname()[1]}"

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                if kind == "silent":
                    released.wait(10)
                self.send_error(500)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://user:hunter2@127.0.0.1:{server.server_port}"

    yield start
    released.set()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kind", ["refused", "500", "silent"])
def test_dead_server_is_reported_once_and_holds_up_nobody(
    runs: Path, kind: str, stub: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    study = make_study(runs, trials=3, epochs=2)
    lines: list[str] = []
    mirror = Mirror(study, stub(kind), interval=0.01, report=lines.append)
    started = time.monotonic()
    mirror.start()
    assert time.monotonic() - started < 0.2
    time.sleep(0.3)
    closing = time.monotonic()
    assert not mirror.close(1.0, "completed")
    assert time.monotonic() - closing < 1.5
    mirror._thread.join(10)
    assert len(lines) == 1
    assert "cannot be written" in lines[0]
    assert "hunter2" not in lines[0] + str(mirror.failure)
    assert "\n" not in lines[0]
    assert capfd.readouterr().out + capfd.readouterr().err == ""


def test_dead_server_by_hand(runs: Path, stub: Callable[[str], str]) -> None:
    study = make_study(runs, trials=1, epochs=1)
    with pytest.raises(UserError, match=r"\*\*\*@.* cannot be written") as caught:
        sync_study(study, stub("refused"))
    assert "hunter2" not in str(caught.value)


def test_thread_catches_up_when_the_store_comes_back(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(runs, trials=4, epochs=3)
    down = threading.Event()
    down.set()
    tried = threading.Event()

    def sometimes(uri: str, replaced: Callable[[str], None] | None) -> MlflowClient:
        if down.is_set():
            tried.set()
            raise ConnectionError("down")
        return connect(uri, replaced)

    monkeypatch.setattr(mirror_module, "connect", sometimes)
    lines: list[str] = []
    mirror = Mirror(study, uri_of(study), interval=0.01, report=lines.append)
    mirror.start()
    assert tried.wait(60)
    down.clear()
    assert mirror.close(20, "completed")
    assert [("cannot" in line, "again" in line) for line in lines] == [(True, True), (False, True)]
    assert_mirrored(study)
    assert runs_of(study)[0].info.status == "FINISHED"


def test_second_process_is_refused(runs: Path) -> None:
    study = make_study(runs, trials=2, epochs=1)
    with FileLock(study / "mlflow.lock"), pytest.raises(UserError, match="another process"):
        sync_study(study, uri_of(study))
    assert sync_study(study, uri_of(study)).trials == 2


@pytest.mark.fault
def test_how_a_study_ended_is_read_with_the_lock_in_hand(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(runs, trials=1, epochs=1)
    (study / "study.json").write_text(json.dumps(study_record(outcome="running")))
    acquire = Mirror.acquire

    def wait_for_driver(mirror: Mirror) -> None:
        acquire(mirror)
        (study / "study.json").write_text(json.dumps(study_record(outcome="completed")))

    monkeypatch.setattr(Mirror, "acquire", wait_for_driver)
    sync_study(study, uri_of(study))
    assert runs_of(study)[0].info.status == "FINISHED"


def test_two_processes_on_a_fresh_store(tmp_path: Path) -> None:
    studies = [make_study(tmp_path, name, trials=3, epochs=2, id=f"{name}-1") for name in ("one", "two")]
    command = [sys.executable, "-m", "study.sync", "--runs-dir", str(tmp_path), "--study"]
    running = [subprocess.Popen([*command, study.name], stderr=subprocess.PIPE, text=True) for study in studies]
    assert [(process.communicate()[1], process.returncode) for process in running] == [("", 0), ("", 0)]
    client = connect(default_tracking_uri(tmp_path))
    experiment = client.get_experiment_by_name("method")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 8


# --- limits and files ----------------------------------------------------------------------------------------------


def test_long_histories_are_split_at_epochs(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    study = one_trial(runs, rows(250))
    calls: list[list[tuple[int, str]]] = []
    original = MlflowClient.log_batch

    def counting(self: MlflowClient, run_id: str, metrics: Any = (), *args: Any, **kwargs: Any) -> Any:
        calls.append([(metric.step, metric.key) for metric in metrics])
        return original(self, run_id, metrics, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", counting)
    once(study)
    calls = [call for call in calls if call]
    assert sum(map(len, calls)) > 3000
    assert max(map(len, calls)) <= 800
    most_per_epoch = len(calls[0]) // len({step for step, _ in calls[0]}) + 1
    assert len(calls) <= math.ceil(sum(map(len, calls)) / (800 - most_per_epoch))
    steps = [step for call in calls for step in sorted({step for step, _ in call})]
    assert steps == list(range(1, 251))
    assert_mirrored(study)


def test_pictures_line_up_in_the_image_grid_once(runs: Path) -> None:
    study = one_trial(runs, rows(5), outcome="completed")
    for attempt, shade in ((1, 10), (2, 200)):
        folder = study / f"trials/0000/attempt-{attempt}"
        (folder / "images").mkdir(parents=True)
        for name in ("samples", "reconstructions"):
            Image.new("L", (8, 8), shade).save(folder / f"images/{name}.png")
        (folder / "metrics.jsonl").touch()
    (folder / "arrays.npz").write_bytes(b"arrays")
    (folder / "images/broken.png").write_bytes(b"\x89PNG nothing more")
    (folder / "images/outside.png").symlink_to(study / "study.json")
    (study / "report").mkdir()
    for figure in (study / "tradeoff.png", study / "report/samples.png"):
        Image.new("RGB", (9, 9)).save(figure)
    (study / "report/report.html").write_text("<!DOCTYPE html>")
    (study / "report/outside.png").symlink_to(study / "study.json")
    report = sync_study(study, uri_of(study))
    assert len(report.problems) == 1
    assert "broken.png" in report.problems[0]

    def files(run: Run, folder: str = "") -> list[str]:
        return sorted(file.path for file in client_of(study).list_artifacts(run.info.run_id, folder))

    parent, children = runs_of(study)
    pictures = files(children[0], "images")
    keys = [Path(path).name.split("+")[:3] for path in pictures if path.endswith(".png")]
    assert keys == [["reconstructions", "step", "5"], ["samples", "step", "5"]]
    assert len(pictures) == 4
    assert children[0].data.tags["mlflow.loggedImages"] == "True"
    stored = Path(str(children[0].info.artifact_uri).removeprefix("file://")) / next(p for p in pictures if "png" in p)
    with Image.open(stored) as picture:
        assert picture.getpixel((0, 0)) == 200
    assert files(children[0]) == ["arrays.npz", "images"]
    assert files(parent) == ["history.jsonl.gz", "report", "study.json", "tradeoff.png"]
    assert files(parent, "report") == ["report/report.html", "report/samples.png"]
    assert str(stored).startswith(str(runs / "mlartifacts"))

    client_of(study).set_terminated(children[0].info.run_id, "KILLED")
    client_of(study).set_tag(children[0].info.run_id, "trial.outcome", "interrupted")
    once(study, "completed")  # the last thing a killed writer did not get to
    assert files(children[0], "images") == pictures
    assert runs_of(study)[1][0].info.status == "FINISHED"


def test_directories_that_are_no_trials(runs: Path) -> None:
    study = make_study(runs, trials=2, epochs=2)
    trials = study / "trials"
    (trials / "0002").mkdir()
    (trials / "notes").mkdir()
    shutil.copytree(trials / "0001", trials / "0003")
    write_trial(study, 4, TrialConfig(), rows(1))
    record = json.loads((trials / "0004/trial.json").read_text())
    record["params"]["colour"] = "red"
    (trials / "0004/trial.json").write_text(json.dumps(record))
    report = sync_study(study, uri_of(study))
    assert report.trials == 2
    assert [problem.split(":")[0] for problem in report.problems] == ["trial 3", "trial 4"]
    assert "colour" in report.problems[1]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1, "id": "x\' or 1=1", "name": "a", "space": "b"}'])
def test_damaged_study_json(runs: Path, content: str) -> None:
    study = make_study(runs, trials=1, epochs=1)
    (study / "study.json").write_text(content)
    with pytest.raises(UserError, match=r"study\.json"):
        sync_study(study, uri_of(study))


# --- reading metrics.jsonl -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"epoch": 3, "time": 5.5, "a/b": 1}', {"epoch": 3.0, "time": 5.5, "a/b": 1.0}),
        (b'{"epoch": 3, "time": 5.5, "text": "x", "yes": true, "none": null}', {"epoch": 3.0, "time": 5.5}),
        (b'{"epoch": 1, "time": 1, "../up": 1, "a//b": 1, "a,b": 1, "": 2}', {"epoch": 1.0, "time": 1.0}),
        (b'{"epoch": 1, "time": NaN, "a": 1e999}', {"epoch": 1.0, "time": 0.0, "a": math.inf}),
        (b'{"epoch": 3, "time": 5.5, "a', None),
        (b'{"epoch": 0, "time": 1}', None),
        (b'{"epoch": 1.5, "time": 1}', None),
        (b'{"time": 1}', None),
        (b"[" * 100_000, None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_parse_record(line: bytes, expected: dict[str, float] | None) -> None:
    assert parse_record(line) == expected


@given(
    st.binary() | st.dictionaries(st.text(), st.floats() | st.integers() | st.text()).map(json.dumps).map(str.encode)
)
def test_fuzz_parse_record(line: bytes) -> None:
    record = parse_record(line)
    assert record is None or all(isinstance(value, float) for value in record.values())


@given(
    lines=st.lists(
        st.sampled_from(['{"epoch": 1, "a": 1}', '{"epoch": 2, "a": 2}', '{"epoch": 3, "a', "", "x"]), max_size=6
    ),
    cuts=st.lists(st.integers(0, 130), max_size=5),
)
def test_reading_in_pieces_equals_reading_at_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], cuts: list[int]
) -> None:
    content = "\n".join(lines)
    trial = tmp_path_factory.mktemp("trial")
    path = trial / "attempt-1/metrics.jsonl"
    path.parent.mkdir()
    pieces, whole = TrialRecords(trial), TrialRecords(trial)
    for end in [*sorted(cuts), len(content)]:
        path.write_text(content[:end])
        pieces.read()
    whole.read()
    assert pieces.merged() == whole.merged()
    assert not pieces.read()


def test_same_values() -> None:
    assert same_values({"a": math.nan, "time": 1.0, "seconds": 2.0}, {"a": math.nan, "time": 5.0})
    assert not same_values({"a": 1.0}, {"a": math.nextafter(1.0, 2.0)})
    assert not same_values({"a": 1.0}, {})


# --- addresses -----------------------------------------------------------------------------------------------------


def test_location(runs: Path) -> None:
    study = make_study(runs, trials=1, epochs=1)
    command = f"mlflow ui --backend-store-uri sqlite:///{runs}/mlflow.db"
    mirror = Mirror(study, uri_of(study))
    assert mirror.location() == command
    page = mirror.sync().page
    mirror.release()
    assert mirror.location().split() == [f"http://127.0.0.1:5000/{page}", "after:", *command.split()]
    assert Mirror(study, "http://u:p@host:5000/").location() == "http://host:5000"
    assert location("http://u:p@host:5000/", page) == f"http://host:5000/{page}"


def test_location_as_people_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert location("http://mlflow:5000", "#/x") == "http://mlflow:5000/#/x"
    monkeypatch.setenv("STUDY_MLFLOW_PAGE", "http://127.0.0.1:5001/")
    assert location("http://mlflow:5000", "#/x") == "http://127.0.0.1:5001/#/x"
    assert location("http://another:5000", "#/x") == "http://another:5000/#/x"  # the setting is for that one server


# --- the command ---------------------------------------------------------------------------------------------------


def test_sync_command(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(runs, trials=2, epochs=2)
    assert command_status(sync_command, ["--name", "toy", "--runs-dir", str(runs)]) == 0
    printed = capsys.readouterr().out
    assert "toy: 2 trials in sqlite:///" in printed
    assert "MLflow   http://127.0.0.1:5000/#/experiments/" in printed


@pytest.mark.parametrize("name", ["nope", "../runs/toy", ".", "toy/../toy"])
def test_security_sync_command_with_another_name(runs: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(runs, trials=1, epochs=1)
    assert command_status(sync_command, ["--study", name, "--runs-dir", str(runs)]) == 2
    assert capsys.readouterr().err.endswith("choose from toy\n")


def test_mlflow_is_imported_late() -> None:
    code = "import sys, study.tracking, study.sync; print(any(n in sys.modules for n in ('mlflow', 'torch', 'PIL')))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert answer.stdout == "False\n"
