"""Advice with a command, or a step that a test can take, is followed where it is printed.

The cases below make a situation, take the command out of the printed line and run exactly that command. What needs more
than one small study is followed elsewhere:

- after an interrupt, a full disk, no permission, a lost database (`add --resume`): `tests/faults/test_driver.py`,
  `test_disk.py`, `test_inputs.py`; `tests/cluster/test_engine.py` for the database;
- MLflow away at the end (`study.sync`): `tests/faults/test_mlflow.py`; a server that refuses a host name:
  `tests/cluster/test_engine.py`;
- addresses, tokens and nodes of a cluster: `tests/tuning/test_preflight.py`, `tests/cluster`;
- the temporary folder of Ray (`set RAY_TMPDIR`): `tests/faults/test_inputs.py`, and for a long one
  `tests/tuning/test_cluster.py`;
- `choose from …` and `choose another …`: beside what is chosen.

Not followed: `mlflow ui`, which serves until it is stopped; `pip install`; "restore it" of a file of the user's own.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from study.cli import command_status
from study.command import COMMANDS
from study.disk.study_json import read_study, write_study
from study.tracking.store import connect
from tests.conftest import small_study_options
from tests.test_run import study_run

ROOT = Path(__file__).parents[1]
ENTRIES = {entry.module: entry for entry in COMMANDS.values()}


def run(module: str, *arguments: object) -> int:
    """`python -m MODULE ARGUMENTS` in this process, where Ray is already up; its exit status."""
    function = getattr(importlib.import_module(module), ENTRIES[module].function)
    return command_status(function, [str(argument) for argument in arguments])


def follow(command: str) -> int:
    """Runs a command as it was printed; its exit status."""
    python, flag, module, *arguments = shlex.split(command)
    assert (python, flag) == ("python", "-m")
    return run(module, *arguments)


@pytest.fixture
def runs(small_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder with the small study."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(small_study.parent / "mine.py", tmp_path)
    return Path(shutil.copytree(small_study, tmp_path / "my runs", ignore=shutil.ignore_patterns("*.lock")))


def begin(runs: Path) -> list[object]:
    return small_study_options(runs, runs.parent / "mine.py")


@dataclasses.dataclass(frozen=True)
class Case:
    """A situation, and the command that the advice gives.

    Attributes:
        make: Makes the situation in a folder of studies.
        module: The command that prints the advice.
        options: Its options, without `--study` and `--runs-dir`.
        before: What stands before the advised command.
        after: What stands after it, if it does not end its line.
        status: Exit status of the command that prints it.
        again: Exit status of that command once the advice has been followed.
        undo: What the advice asks for beside the command.
    """

    make: Callable[[Path], object]
    module: str
    options: tuple[str, ...]
    before: str
    after: str = ""
    status: int = 2
    again: int = 0
    undo: Callable[[Path], object] = lambda runs: None


def damage(name: str, content: bytes = b"garbage" * 99) -> Callable[[Path], object]:
    return lambda runs: (runs / name).write_bytes(content)


def remove(name: str) -> Callable[[Path], object]:
    return lambda runs: (runs / name).unlink()


def change(**changes: object) -> Callable[[Path], object]:
    """Changes the study's record."""

    def make(runs: Path) -> None:
        record = read_study(runs / "small")
        assert record is not None
        write_study(runs / "small", record.replace(**changes))

    return make


def in_the_trash(runs: Path) -> None:
    client = connect(f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)


def lose_checkpoints(runs: Path) -> None:
    for path in (runs / "small" / "trials").glob("*/attempt-*/*.pt"):
        path.write_bytes(b"garbage")


COMMANDS_OF = ("python -m ", "mlflow experiments")
RESUME = ("--space", "SPACE", "--resume")
CASES: dict[str, Case] = {
    "ledger missing": Case(remove("small/optuna.db"), "study.run", RESUME, "rebuild it: "),
    "ledger damaged": Case(damage("small/optuna.db"), "study.run", RESUME, "rebuild it: "),
    "ledger damaged, seen by doctor": Case(
        damage("small/optuna.db"), "study.doctor", (), "-> rebuild it: ", status=1
    ),
    "record missing": Case(remove("small/study.json"), "study.status", (), "with ", ", or choose"),
    "record damaged": Case(damage("small/study.json"), "study.run", RESUME, "with ", ", or choose"),
    "record in part": Case(damage("small/study.json", b'{"format": 1}'), "analysis.report", (), "with ", ", or choose"),
    "record damaged, seen by doctor": Case(
        damage("small/study.json"), "study.doctor", (), "-> restore it: ", status=1
    ),
    "interrupted": Case(change(outcome="interrupted"), "study.status", (), "to resume    ", status=0),
    "interrupted, seen by doctor": Case(
        change(outcome="running"), "study.doctor", (), "resume it: ", status=1
    ),
    "store damaged, seen by doctor": Case(damage("mlflow.db"), "study.doctor", (), "folders: ", status=1),
    "experiment in the trash": Case(in_the_trash, "study.sync", (), "restore it: "),
    "checkpoints damaged": Case(
        lose_checkpoints, "study.export", ("--trial", "1", "--out", "EXPORT"), "as another trial: ", again=2
    ),
    "report cannot be written": Case(
        lambda runs: (shutil.rmtree(runs / "small" / "report"), damage("small/report")(runs)),
        "study.run",
        RESUME,
        "): ",
        status=0,
        undo=remove("small/report"),
    ),
    "MLflow away": Case(
        damage("away"),
        "study.run",
        (*RESUME, "--tracking-uri", "sqlite:///RUNS/away/mlflow.db"),
        "when it answers: ",
        status=0,
        undo=remove("away"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_faults_met_advice_works_where_it_is_printed(name: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    case.make(runs)
    words = {"RUNS": str(runs), "SPACE": str(runs.parent / "mine.py"), "EXPORT": str(runs / "export")}
    options = [re.sub("|".join(words), lambda match: words[match[0]], part) for part in case.options]
    options += ["--study", "small", "--runs-dir", str(runs)]
    assert run(case.module, *options) == case.status
    told = capsys.readouterr()
    text = told.out + told.err
    assert "Traceback" not in text
    [line] = [
        line
        for line in text.splitlines()
        if case.before in line and (case.after or any(word in line for word in COMMANDS_OF))
    ]
    advice = line.partition(case.before)[2]
    advice = advice.partition(case.after)[0] if case.after else advice
    case.undo(runs)
    if advice.startswith("python -m "):
        assert follow(advice) == 0, capsys.readouterr()
        next_one = capsys.readouterr().out.partition("next: ")[2].strip()
        assert not next_one or follow(next_one) == 0
    elif advice.startswith("MLFLOW_TRACKING_URI="):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(["bash", "-c", advice], check=True, capture_output=True, env={**os.environ, "PATH": path})
    assert run(case.module, *options) == case.again
    told = capsys.readouterr()
    if case.again:  # the trial stays lost; the new one can be exported
        assert run(case.module, *["2" if part == "1" else part for part in options]) == 0
    else:
        assert line not in (told.out + told.err).splitlines()


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which a study is refused."""
    capsys.readouterr()
    assert study_run(*arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_faults_met_a_name_that_exists(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, *begin(runs))
    assert "add --resume to continue it, or choose another --study" in line
    assert study_run(*begin(runs), "--resume") == 0
    assert study_run(*begin(runs), "--study", "other", "--dry-run") == 0


def test_faults_met_a_name_that_does_not_exist(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, *begin(runs), "--study", "smal", "--resume")
    assert "which has small: correct --study, or add --create" in line
    assert study_run(*begin(runs), "--study", "small", "--resume") == 0
    assert study_run(*begin(runs), "--study", "smal", "--resume", "--create", "--dry-run") == 0


def test_faults_met_an_option_that_must_stay(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, *begin(runs), "--resume", "--seed", 7)
    assert "was begun with --seed 0: leave it out" in line
    assert study_run(*begin(runs), "--resume") == 0


def test_faults_met_a_store_that_another_process_writes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--study", "small", "--runs-dir", runs]
    with FileLock(runs / "small" / "mlflow.lock"):
        assert run("study.sync", *options) == 2
    assert "run this again after the study has ended" in capsys.readouterr().err
    assert run("study.sync", *options) == 0


def test_faults_met_damaged_checkpoints_are_deleted(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lose_checkpoints(runs)
    assert run("study.doctor", "--study", "small", "--runs-dir", runs) == 1
    assert "-> delete them" in capsys.readouterr().out
    for path in (runs / "small" / "trials").glob("*/attempt-*/*.pt"):
        path.unlink()
    assert run("study.doctor", "--study", "small", "--runs-dir", runs) == 0
    assert study_run(*begin(runs), "--resume") == 0


def test_faults_met_a_broken_store_is_replaced_and_its_other_studies_follow(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "small", runs / "other")
    change_name(runs, "other")
    content = b"garbage" * 999
    (runs / "mlflow.db").write_bytes(content)
    assert run("study.sync", "--study", "small", "--runs-dir", runs) == 0
    told = capsys.readouterr()
    [line] = told.err.splitlines()
    assert "so a new one takes its place; the old file is" in line
    assert (runs / "mlflow.db.damaged-1").read_bytes() == content
    assert "small: 2 trials" in told.out and "written now: 3 runs" in told.out
    assert follow(line.partition("its other studies: ")[2]) == 0
    told = capsys.readouterr()
    assert "other: 2 trials" in told.out and "written now: 0 runs, 0 epochs" in told.out and not told.err


def change_name(runs: Path, name: str) -> None:
    record = read_study(runs / name)
    assert record is not None
    write_study(runs / name, record.replace(name=name, id="another"))


SPACE = """
from study import SearchSpace

def suggest(trial, data):
    return {"latent_dim": trial.suggest_int("latent_dim", 2, 16)}

SPACE = SearchSpace(question="?", suggest=suggest, base={"learning_rate": %s}, num_trials=5, objectives=("sample_fid",))
"""


def test_faults_met_a_study_of_failures_takes_the_mended_space(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, runs = tmp_path / "mine.py", tmp_path / "runs"
    path.write_text(SPACE % "1e30")
    arguments = ["--space", path, "--epochs", 1, "--scheduler", "none", "--runs-dir", runs]
    assert study_run(*arguments) == 1
    assert "if that changes the space's file, --resume begins the study anew" in capsys.readouterr().out
    path.write_text(SPACE % "1e-3")
    assert study_run(*arguments, "--num-trials", 1, "--resume") == 0
    output = capsys.readouterr().out
    assert "so the study begins anew" in output and "1 trials: 1 completed" in output
    assert (runs / "mine" / "before-1" / "trials").is_dir()
    before = path.read_text()
    path.write_text(before.replace("16", "17"))
    assert f"{path} has changed since study 'mine' began: restore it" in refused(capsys, *arguments, "--resume")
    path.write_text(before)
    # What ends before the last trial goes on.
    arguments += ["--num-trials", 6, "--max-concurrent", 1, "--resume"]
    assert study_run(*arguments, "--time-budget", 1) == 0
    output = capsys.readouterr().out
    assert "ended by --time-budget before its last trial: add --resume to continue" in output
    assert len(list((runs / "mine" / "trials").iterdir())) < 6
    assert study_run(*arguments) == 0
    assert len(list((runs / "mine" / "trials").iterdir())) == 6
