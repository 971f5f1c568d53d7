"""A configuration trained longer: a trial of the study, and apart from its search."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from study.cli import command_status
from study.exporting.trained import load_model
from study.results.choice import choose
from study.results.frame import load_study
from study.results.selection import select
from study.retrain import retrain
from study.run import run
from study.search.ledger import Ledger
from tests.search.test_ledger import open_ledger
from tests.test_run import mlflow_runs

EPOCHS, MORE = 3, 5


def study_retrain(*arguments: object) -> int:
    return command_status(retrain, [str(argument) for argument in arguments])


def _trained(ledger: Ledger, outcome: str) -> tuple[int, str, int]:
    """Number, origin and epochs of the next trial, which then ends so."""
    assignment = ledger.next(1)
    assert assignment is not None
    values = dict.fromkeys(ledger.objectives, 0.0) if outcome != "failed" else None  # better than any
    ledger.record(assignment.number, outcome, epochs=assignment.config.epochs, values=values)
    return assignment.number, assignment.origin, assignment.config.epochs


def test_the_ledger_keeps_a_retrained_trial_apart_and_asks_for_it_once(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert _trained(ledger, "completed") == (0, "reference", 60)
    for _ in range(2):
        ledger.retrain(0, 90)
    assert ledger.unfinished == 1
    begun = ledger.next(1)
    assert begun is not None and (begun.number, begun.config.epochs) == (1, 90)
    assert begun.config.replace(epochs=60).to_params() == ledger.trials()[0].user_attrs["params"]

    ledger = open_ledger(tmp_path)  # its driver was killed
    ledger.retrain(0, 90)
    assert _trained(ledger, "completed") == (1, "retrain", 90)
    ledger.retrain(0, 90)
    assert ledger.unfinished == 0 and ledger.next(1) is None
    assert (ledger.tally.done, ledger.extra_tally.done) == (1, 1)

    ledger.retrain(0, 120)
    assert _trained(ledger, "failed") == (2, "retrain", 120)
    ledger.retrain(0, 120)  # what failed, or was stopped by hand, may be tried again
    assert _trained(ledger, "stopped") == (3, "retrain", 120)
    ledger.retrain(0, 120)
    assert _trained(ledger, "completed") == (4, "retrain", 120)
    study = optuna.load_study(study_name=tmp_path.name, storage=f"sqlite:///{tmp_path}/optuna.db")
    assert [trial.number for trial in study.best_trials] == [0]


@pytest.fixture(scope="module")
def runs(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a finished study `small` of three trials."""
    directory = tmp_path_factory.mktemp("runs")
    arguments = ["--space", "wae_weight", "--name", "small", "--num-trials", 3, "--epochs", EPOCHS]
    assert command_status(run, [str(argument) for argument in [*arguments, "--runs-dir", directory]]) == 0
    return directory


def test_a_retrained_trial_stands_beside_the_search(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = choose(load_study(runs, "small"))
    arguments = ["--study", "small", "--trial", 1, "--epochs", MORE, "--runs-dir", runs]
    assert study_retrain(*arguments) == 0
    frames = load_study(runs, "small")
    assert frames.column("number").tolist() == [0, 1, 2, 3]
    old, new = frames.trials.to_dict("records")[1::2]
    assert (new["origin"], new["outcome"], new["epochs"], new["epochs_done"]) == ("retrain", "completed", MORE, MORE)
    same = ["method", "weight", "latent_dim", "kernel", "seed", "learning_rate", "network"]
    assert [new[name] for name in same] == [old[name] for name in same]
    assert json.loads((runs / "small" / "trials" / "0003" / "trial.json").read_text())["retrain_of"] == 1

    after = choose(frames)  # the search is as it was, whatever the longer training gave
    assert not after.eligible[3]
    assert (after.front.tolist(), after.recommended) == (before.front.tolist(), before.recommended)
    ledger = optuna.load_study(study_name="small", storage=f"sqlite:///{runs}/small/optuna.db")
    assert 3 not in [trial.number for trial in ledger.best_trials]
    record = json.loads((runs / "small" / "study.json").read_text())
    assert (record["outcome"], record["num_trials"]) == ("completed", 3)

    [parent], children, client = mlflow_runs(runs)
    [child] = [run for run in children if run.data.tags["trial.number"] == "3"]
    assert child.data.tags["trial.origin"] == "retrain" and child.data.tags["trial.retrain_of"] == "1"
    assert (child.info.status, parent.info.status) == ("FINISHED", "FINISHED")
    steps = [point.step for point in client.get_metric_history(child.info.run_id, "train/loss")]
    assert sorted(steps) == list(range(1, MORE + 1))
    assert load_model(select(runs, "small", trial=3)).config.epochs == MORE

    capsys.readouterr()
    assert study_retrain(*arguments) == 0  # once more: it is there already
    assert "trial 3 of small" in capsys.readouterr().out
    assert len(load_study(runs, "small").trials) == 4


def test_the_search_goes_on_as_if_nothing_was_retrained(runs: Path) -> None:
    arguments = ["--space", "wae_weight", "--name", "small", "--num-trials", 4, "--resume", "--runs-dir", runs]
    assert study_retrain("--study", "small", "--trial", 1, "--epochs", MORE, "--runs-dir", runs) == 0
    retrained = load_study(runs, "small").text("origin").tolist().count("retrain")
    assert command_status(run, [str(argument) for argument in arguments]) == 0
    frames = load_study(runs, "small")
    searched = frames.keep(frames.text("origin") != "retrain").trials.to_dict("records")
    assert len(searched) == 4 and len(frames.trials) == 4 + retrained
    assert [trial["epochs"] for trial in searched] == [EPOCHS] * 4
    assert len({(trial["method"], trial["weight"], trial["latent_dim"], trial["kernel"]) for trial in searched}) == 4


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--epochs", EPOCHS], f"has {EPOCHS}, give more"),
        (["--epochs", 0], "--epochs"),
        ([], "--epochs"),
        (["--epochs", MORE, "--trial", 99], "no such trial"),
        (["--epochs", MORE, "--study", "nope"], "small"),
    ],
)
def test_bad_usage_is_one_line_and_changes_nothing(runs: Path, capsys, arguments: list[object], word: str) -> None:
    before = (runs / "small" / "study.json").read_bytes()
    assert study_retrain("--study", "small", "--runs-dir", runs, *arguments) == 2
    captured = capsys.readouterr().err.strip()
    assert len(captured.splitlines()) == 1 and word in captured
    assert (runs / "small" / "study.json").read_bytes() == before
