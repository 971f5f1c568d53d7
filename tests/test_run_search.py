"""A search in which everything happens that can happen to a trial, through Ray, and what is told of it afterwards."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest
from optuna.trial import FrozenTrial

from study.disk.layout import trial_path
from study.results.frame import load_study
from study.status import read_status
from tests.test_run import mlflow_runs, study_run

TRIALS, EPOCHS = 18, 16
SPACE = """
from study.space import SearchSpace

SPACE = SearchSpace(
    question="What becomes of trials that end in every possible way?",
    base={"encoder": "deterministic", "regularizer": "mmd", "kernel": "imq", "latent_dim": 4, "width": 32},
    suggest=lambda trial, data: {
        "weight": trial.suggest_float("weight", 0.01, 100.0, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True),
    },
    baselines=lambda data: [{"learning_rate": 1e30}, {"width": 10**9}],
)
"""
FAILED = {0: "loss", 1: "(twice)"}
"""By number, a word of why it fails: the loss is not finite, any exception (tried again). A refused setting is found
before the study begins."""


class Searched(NamedTuple):
    """A study that was interrupted and taken up again, and the trials that were in training then."""

    runs: Path
    directory: Path
    cut_off: list[int]


def ledger_of(directory: Path) -> optuna.Study:
    return optuna.load_study(study_name=directory.name, storage=f"sqlite:///{directory}/optuna.db")


def in_training(directory: Path) -> dict[int, int]:
    """Trial -> the epoch of its newest checkpoint, of those that have one and have not ended."""
    epochs = {}
    for folder in directory.glob("trials/*"):
        saved = [int(path.stem.removeprefix("checkpoint-")) for path in folder.glob("attempt-*/checkpoint-*.pt")]
        if saved and not (folder / "outcome.json").exists():
            epochs[int(folder.name)] = max(saved)
    return epochs


def terminate_when(condition: Callable[[], bool]) -> threading.Thread:
    """Sends this process SIGTERM once, as a batch system does, as soon as the condition holds."""

    def watch() -> None:
        deadline = time.monotonic() + 600
        while not condition():
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def searched(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("search")
    (folder / "everything.py").write_text(SPACE)
    runs = folder / "runs"
    directory = runs / "all"
    arguments = ["--space", folder / "everything.py", "--name", "all", "--runs-dir", runs]
    settings = ["--num-trials", TRIALS, "--epochs", EPOCHS, "--sampler", "random"]

    def halfway() -> bool:
        """Some trials have ended, and one is past its last rung and not yet near its end."""
        ended = len(list(directory.glob("trials/*/outcome.json")))
        return ended >= 6 and any(EPOCHS / 2 < epoch < EPOCHS - 2 for epoch in in_training(directory).values())

    watcher = terminate_when(halfway)
    assert study_run(*arguments, *settings) == 130
    watcher.join()
    assert any(trial.state.name == "RUNNING" for trial in ledger_of(directory).trials)
    cut_off = list(in_training(directory))
    assert study_run(*arguments, "--resume") == 0
    return Searched(runs, directory, cut_off)


def outcome(trial: FrozenTrial) -> str:
    return trial.user_attrs["outcome"]


def test_every_trial_ended_and_each_in_its_way(searched: Searched) -> None:
    trials = ledger_of(searched.directory).trials
    assert len(trials) == TRIALS
    for trial in trials:
        failed = trial.number in FAILED
        assert trial.state.name == ("FAIL" if failed else "COMPLETE")
        assert (outcome(trial) == "failed") == failed
        assert not failed or FAILED[trial.number] in trial.user_attrs["reason"]
        missing = 1 - trial.user_attrs["epochs"] / EPOCHS
        assert failed or trial.constraints == ({"budget": missing} if outcome(trial) == "stopped" else {})
    counts = Counter(map(outcome, trials))
    assert counts["stopped"] >= 2 and counts["completed"] >= 4
    status = read_status(searched.runs, "all")
    assert status.state == "completed" and status.counts == counts


def test_the_front_holds_trials_of_the_full_budget_alone(searched: Searched) -> None:
    front = ledger_of(searched.directory).best_trials
    assert front
    assert {(outcome(trial), trial.user_attrs["epochs"]) for trial in front} == {("completed", EPOCHS)}
    assert sorted(trial.number for trial in front) == sorted(read_status(searched.runs, "all").front)


def test_a_trial_cut_off_with_its_driver_was_taken_up_again(searched: Searched) -> None:
    assert searched.cut_off
    history = load_study(searched.runs, "all").history
    for number in searched.cut_off:
        assert len(list(trial_path(searched.directory, number).glob("attempt-*/"))) >= 2
        epochs = ledger_of(searched.directory).trials[number].user_attrs["epochs"]
        assert history["epoch"][history["number"] == number].tolist() == list(range(1, epochs + 1))


def test_mlflow_says_the_same(searched: Searched) -> None:
    [parent], children, client = mlflow_runs(searched.runs)
    assert parent.info.status == "FINISHED"
    told = {int(run.data.tags["trial.number"]): run for run in children}
    trials = ledger_of(searched.directory).trials
    assert len(children) == TRIALS and told.keys() == {trial.number for trial in trials}
    for trial in trials:
        run = told[trial.number]
        assert run.data.tags["trial.outcome"] == outcome(trial)
        assert run.info.status == ("FAILED" if outcome(trial) == "failed" else "FINISHED")
        if outcome(trial) != "failed":
            steps = sorted(point.step for point in client.get_metric_history(run.info.run_id, "train/loss"))
            assert steps == list(range(1, trial.user_attrs["epochs"] + 1))
