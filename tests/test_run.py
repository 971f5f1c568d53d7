"""The command a user types, run for real."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.tracking import MlflowClient

from study.cli import command_status
from study.disk.study_json import parse_study, read_study, write_study
from study.measure.context import EvaluationContext
from study.model import stacked
from study.results.frame import load_study
from study.run import run
from study.session.resuming import resume_command
from study.status import lines, read_status
from study.status import main as status_command
from study.tuning import preparing
from study.tuning.cluster import Cluster
from study.tuning.preparing import prepare
from tests.helpers_study import study_record

ROOT = Path(__file__).parents[1]
_PREPARE = preparing._prepare
ODD_SPACE = """
from study.space import SearchSpace

SPACE = SearchSpace(
    question="?", suggest=lambda trial, data: {{"weight": trial.suggest_float("weight", 1, 2)}}, base={base}
)
"""


def study_run(*arguments: object) -> int:
    """`python -m study.run ARGUMENTS` in this process, where Ray is already up."""
    return command_status(run, [str(argument) for argument in arguments])


def ledger_states(directory: Path) -> Counter[str]:
    """Trials of a study's ledger by state."""
    study = optuna.load_study(study_name=directory.name, storage=f"sqlite:///{directory}/optuna.db")
    return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))


def mlflow_runs(runs_dir: Path) -> tuple[list, list, MlflowClient]:
    """Parent and child runs in the local store."""
    client = MlflowClient(f"sqlite:///{runs_dir}/mlflow.db")
    found = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return parents, [run for run in found if "mlflow.parentRunId" in run.data.tags], client


def check_whole(runs_dir: Path, name: str, trials: int, epochs: int) -> None:
    """Asserts that directory, ledger and MLflow tell of the same finished trials, each epoch once."""
    frames = load_study(runs_dir, name)
    assert sorted(frames.trials["number"]) == list(range(trials))
    assert set(frames.trials["outcome"]) == {"completed"}
    for _, history in frames.history.groupby("number"):
        assert history["epoch"].tolist() == list(range(1, epochs + 1))
    assert ledger_states(runs_dir / name) == {"COMPLETE": trials}
    [parent], children, client = mlflow_runs(runs_dir)
    assert parent.info.status == "FINISHED"
    assert sorted(int(child.data.tags["trial.number"]) for child in children) == list(range(trials))
    assert {child.info.status for child in children} == {"FINISHED"}
    for child in children:
        steps = [point.step for point in client.get_metric_history(child.info.run_id, "train/loss")]
        assert sorted(steps) == list(range(1, epochs + 1))


@pytest.fixture(scope="module")
def finished(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a small finished study named `small`."""
    runs_dir = tmp_path_factory.mktemp("runs")
    status = study_run(
        "--space",
        "wae_weight",
        "--name",
        "small",
        "--num-trials",
        4,
        "--epochs",
        4,
        "--scheduler",
        "none",
        "--runs-dir",
        runs_dir,
    )
    assert status == 0
    return runs_dir


def test_a_study_ends_whole(finished: Path) -> None:
    check_whole(finished, "small", trials=4, epochs=4)
    assert (finished / "small" / "tradeoff.png").stat().st_size > 10_000
    record = json.loads((finished / "small" / "study.json").read_text())
    assert record["outcome"] == "completed"
    assert record["evaluation"]["instrument"]["accuracy"] > 0.9


def test_search_sees_no_test_metric_and_test_is_measured_once(finished: Path) -> None:
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{finished}/small/optuna.db")
    for trial in study.trials:
        assert "test/" not in json.dumps({**trial.user_attrs, **trial.system_attrs})
    history = load_study(finished, "small").history
    measured = history[history["test/sample_fid"].notna()]
    assert measured["epoch"].tolist() == [4] * 4


def test_every_run_has_the_same_params_and_its_pictures(finished: Path) -> None:
    [parent], children, client = mlflow_runs(finished)
    assert len({tuple(sorted(child.data.params)) for child in children}) == 1
    assert "tradeoff.png" in [file.path for file in client.list_artifacts(parent.info.run_id)]
    report = {path.name for path in (finished / "small" / "report").iterdir()}
    report -= {"live.html"}  # of a study that took more than a minute; it goes nowhere else
    assert "report.html" in report and "tradeoff.png" in report
    assert {Path(file.path).name for file in client.list_artifacts(parent.info.run_id, "report")} == report
    page = (finished / "small" / "report" / "report.html").read_text()
    assert all(f"/runs/{child.info.run_id}" in page for child in children)
    for child in children:
        images = " ".join(file.path for file in client.list_artifacts(child.info.run_id, "images"))
        assert "images/samples" in images and "images/reconstructions" in images


def test_an_existing_study_is_not_touched_without_resume(finished: Path, capsys) -> None:
    before = (finished / "small" / "study.json").read_bytes()
    assert study_run("--space", "wae_weight", "--name", "small", "--runs-dir", finished) == 2
    assert "--resume" in capsys.readouterr().err
    assert (finished / "small" / "study.json").read_bytes() == before


def test_a_study_killed_while_it_is_extended_is_not_called_completed(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished / "small", tmp_path / "runs" / "small")
    dead = tmp_path / "dead"

    def die(*arguments: object, **options: object) -> None:
        """Keeps what the disk holds at a moment at which SIGKILL may come, but for the driver's mark."""
        shutil.copytree(tmp_path / "runs" / "small", dead / "small", ignore=shutil.ignore_patterns("driver.json"))
        raise KeyboardInterrupt

    monkeypatch.setattr("study.session.session.execute", die)
    arguments = ["--space", "wae_weight", "--name", "small", "--runs-dir", tmp_path / "runs"]
    assert study_run(*arguments, "--resume", "--num-trials", 6) == 130
    for runs in (dead, tmp_path / "runs"):
        status = read_status(runs, "small")
        assert status.state == "interrupted" and status.wanted == 6
        assert any("--resume" in line for line in lines(status, "small"))


def test_a_time_budget_ends_a_study_well_and_what_it_left_is_trained_later(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished / "small", tmp_path / "small")
    arguments = ["--space", "wae_weight", "--name", "small", "--runs-dir", tmp_path, "--resume"]

    def slow(*arguments: Any) -> EvaluationContext:
        time.sleep(1.1)
        return prepare(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("study.session.session.prepare", slow)
        assert study_run(*arguments, "--replicates", 1, "--time-budget", 1) == 0
    assert "ended by --time-budget" in capsys.readouterr().out
    waiting = ledger_states(tmp_path / "small")["WAITING"]
    assert waiting > 0 and ledger_states(tmp_path / "small") == {"COMPLETE": 4, "WAITING": waiting}
    status = read_status(tmp_path, "small")
    assert status.state == "stopped" and any("--resume" in line for line in lines(status, "small"))
    assert study_run(*arguments) == 0
    assert ledger_states(tmp_path / "small") == {"COMPLETE": 4 + waiting}
    assert read_status(tmp_path, "small").state == "completed"


def test_mlflow_is_closed_after_ray_was_left_whatever_the_end_meets(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished / "small", tmp_path / "small")
    order: list[str] = []

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Cluster, "wait", lambda cluster: order.append("left"))
    monkeypatch.setattr("study.session.session._close", lambda mirror, outcome: order.append("closed"))
    monkeypatch.setattr("analysis.reporting.ending.draw", interrupted)
    assert study_run("--space", "wae_weight", "--name", "small", "--runs-dir", tmp_path, "--resume") == 130
    assert order[:2] == ["left", "closed"]


def test_a_finished_study_taken_up_again_shows_its_answer(finished: Path, capsys) -> None:
    assert study_run("--space", "wae_weight", "--name", "small", "--runs-dir", finished, "--resume") == 0
    assert "Pareto-optimal" in capsys.readouterr().out
    check_whole(finished, "small", trials=4, epochs=4)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--epochs", "5"], "--epochs 4"),
        (["--seed", "9"], "--seed 0"),
        (["--sampler", "random"], "--sampler tpe"),
        (["--space", "vae_beta"], "--space wae_weight"),
    ],
)
def test_a_study_is_not_resumed_under_other_conditions(finished: Path, capsys, arguments: list[str], word: str) -> None:
    defaults = ["--space", "wae_weight", "--name", "small", "--runs-dir", finished, "--resume"]
    assert study_run(*defaults, *arguments) == 2
    assert word in capsys.readouterr().err


BAD = {
    "unknown space": (["--space", "nope"], "wae_weight"),
    "no space": ([], "wae_weight"),
    "unknown data set": (["--space", "wae_weight", "--dataset", "nope"], "digits"),
    "no trials": (["--space", "wae_weight", "--num-trials", "0"], "--num-trials"),
    "trials not a number": (["--space", "wae_weight", "--num-trials", "many"], "--num-trials"),
    "no such option": (["--space", "wae_weight", "--colour", "red"], "--colour"),
    "unknown sampler": (["--space", "wae_weight", "--sampler", "nope"], "tpe"),
    "a name that leaves the folder": (["--space", "wae_weight", "--study", "../x"], "--study"),
    "no cores for a trial": (["--space", "wae_weight", "--cpus-per-trial", "0"], "--cpus-per-trial"),
    "tracking of no known kind": (["--space", "wae_weight", "--tracking-uri", "gopher://x"], "tracking"),
}


@pytest.mark.parametrize(("arguments", "word"), BAD.values(), ids=list(BAD))
def test_bad_usage_is_one_line_and_leaves_nothing(tmp_path: Path, capsys, arguments: list[str], word: str) -> None:
    assert study_run(*arguments, "--runs-dir", tmp_path / "runs") == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert word in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_runs_folder_under_a_file_is_bad_usage(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert study_run("--space", "wae_weight", "--runs-dir", tmp_path / "file" / "runs") == 2
    assert "is a file" in capsys.readouterr().err


def test_a_folder_of_broken_images_is_bad_usage(tmp_path: Path, capsys) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "one.png").write_bytes(b"not an image")
    arguments = ["--space", "wae_weight", "--dataset", f"folder:{tmp_path / 'images'}", "--runs-dir", tmp_path / "runs"]
    assert study_run(*arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("ray_session")
def test_the_resume_command_of_status_works_when_pasted(finished: Path, tmp_path: Path, capsys) -> None:
    space, runs_dir = tmp_path / "my spaces" / "odd.py", tmp_path / "all 'my' runs"
    space.parent.mkdir()
    space.write_text(ODD_SPACE.format(base={}))
    options = ["--data-dir", tmp_path / "my data", "--storage", f"sqlite:///{tmp_path}/ledger.db", "--epochs", 1]
    assert study_run("--space", space, "--study", "odd", "--runs-dir", runs_dir, "--num-trials", 2, *options) == 0
    record = read_study(runs_dir / "odd")
    assert record is not None
    write_study(runs_dir / "odd", record.replace(num_trials=3, outcome="interrupted"))

    assert command_status(status_command, ["--study", "odd", "--runs-dir", str(runs_dir)]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("to resume")]
    command = line.removeprefix("to resume").strip()
    for word in (space, runs_dir, tmp_path / "my data", "sqlite:///", "--dataset digits"):
        assert str(word).replace("'", "'\"'\"'") in command
    pasted = f"{shlex.quote(sys.executable)} {command.removeprefix('python ')}"
    subprocess.run(pasted + " --dry-run", shell=True, cwd=ROOT, check=True, capture_output=True)
    assert study_run(*shlex.split(command)[3:]) == 0
    assert read_status(runs_dir, "odd").counts == {"completed": 3}


def test_the_resume_command_of_an_older_study_names_what_it_recorded(tmp_path: Path) -> None:
    record = parse_study(study_record("old", space="gone", space_path="/nowhere/gone.py"), "study.json")
    assert resume_command(record, tmp_path) == (
        f"python -m study.run --space gone --dataset digits --study old --runs-dir {tmp_path} --resume"
    )


def _driver(runs_dir: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "study.run", "--space", "wae_weight", "--name", "killed", "--runs-dir", runs_dir]
    return subprocess.Popen(
        [*map(str, command), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )


def test_a_killed_study_resumes_whole_and_extends(tmp_path: Path, ray_session: None) -> None:
    driver = _driver(tmp_path, "--num-trials", 6, "--epochs", 8, "--scheduler", "none")
    trials = tmp_path / "killed" / "trials"
    deadline = time.monotonic() + 300
    while len(list(trials.glob("*/outcome.json"))) < 2:  # half way
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline, "no trial ended"
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    resume = ["--space", "wae_weight", "--name", "killed", "--runs-dir", tmp_path, "--resume"]
    assert study_run(*resume) == 0
    check_whole(tmp_path, "killed", trials=6, epochs=8)
    first = load_study(tmp_path, "killed").trials.set_index("number")
    assert study_run(*resume, "--num-trials", 8) == 0
    check_whole(tmp_path, "killed", trials=8, epochs=8)
    after = load_study(tmp_path, "killed").trials.set_index("number")
    shared = ["weight", "latent_dim", "kernel", "val/sample_fid"]
    assert after.loc[first.index, shared].equals(first[shared])
    assert not after[["method", "weight", "latent_dim", "kernel"]].duplicated().any()


def _prepare_with_a_stage_that_collapses(*arguments: Any) -> EvaluationContext:
    before = stacked.LEAST_STEPS, stacked.EPOCHS, stacked.LEARNING_RATE
    stacked.LEAST_STEPS, stacked.EPOCHS, stacked.LEARNING_RATE = 20, 0, 30.0
    try:
        return _PREPARE(*arguments)
    finally:  # the process will do other tasks
        stacked.LEAST_STEPS, stacked.EPOCHS, stacked.LEARNING_RATE = before


@pytest.mark.usefixtures("ray_session")
def test_a_collapsed_first_stage_ends_the_study_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preparing, "_prepare", _prepare_with_a_stage_that_collapses)
    assert study_run("--space", "latent_dim", "--epochs", 1, "--runs-dir", tmp_path) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert "first stage of network=stacked collapsed" in line and "use another network" in line
    assert not list(tmp_path.glob("latent_dim/trials/*/outcome.json"))


@pytest.mark.parametrize("option", [("--seed", 2**31), ("--eta", 1e7), ("--gpus-per-trial", 1.5)])
def test_a_setting_that_no_record_could_hold_is_refused_in_one_line(tmp_path: Path, capsys, option) -> None:
    assert study_run("--space", "wae_weight", "--runs-dir", tmp_path / "runs", "--dry-run", *option) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and option[0] in error and "is not in its range" in error
