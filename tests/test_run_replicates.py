"""`--replicates`, from the command to the table, the plot and MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analysis import replicates
from study.config import TrialConfig
from study.results.choice import choose
from study.results.frame import StudyFrames, load_study
from study.run import with_default_replicates
from study.session.replicates import replicate_front
from tests.helpers_study import make_study, write_trial
from tests.test_run import mlflow_runs, study_run

EPOCHS = 3


@pytest.fixture(scope="module")
def runs(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs_dir = tmp_path_factory.mktemp("replicated")
    assert study_run(*_arguments(runs_dir), "--num-trials", 4, "--epochs", EPOCHS, "--replicates", 2) == 0
    return runs_dir


def _arguments(runs_dir: Path) -> list[Any]:
    return ["--space", "wae_weight", "--name", "small", "--runs-dir", runs_dir]


def _on_both_fronts(frames: StudyFrames) -> list[int]:
    """Numbers of the trials that no other beats in error and FID, from N(0, I) or from the fitted prior."""
    search = (frames.text("origin") != "replicate") & (frames.text("outcome") == "completed")
    numbers, error = frames.column("number")[search], frames.column("val/reconstruction_mse")[search]
    found: set[int] = set()
    for score in (frames.column("val/sample_fid")[search], frames.column("val/fitted_fid")[search]):
        points = list(zip(error, score, strict=True))
        beaten = [any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]
        found |= {int(number) for number, is_beaten in zip(numbers, beaten, strict=True) if not is_beaten}
    return sorted(found)


def _replicates(frames: StudyFrames) -> Any:
    return frames.trials[frames.trials["origin"] == "replicate"]


def test_every_front_member_is_trained_again_with_the_same_fresh_seeds(runs: Path) -> None:
    frames = load_study(runs, "small")
    front = _on_both_fronts(frames)
    copies = _replicates(frames)
    assert len(frames.trials) == 4 + len(copies)
    assert sorted(set(copies["replicate_of"])) == sorted(front)
    for number, group in copies.groupby("replicate_of"):
        original = frames.trials.set_index("number").loc[number]
        assert sorted(group["seed"]) == [1, 2]
        assert (group["outcome"] == "completed").all() and (group["epochs_done"] == EPOCHS).all()
        for name in ("method", "weight", "latent_dim", "kernel", "learning_rate", "epochs"):
            assert (group[name] == original[name]).all()
        assert (group["val/sample_fid"] != original["val/sample_fid"]).all()


def test_replicates_are_tagged_child_runs_in_mlflow(runs: Path) -> None:
    frames = load_study(runs, "small")
    [parent], children, client = mlflow_runs(runs)
    expected = {str(trial["number"]): trial for trial in frames.trials.to_dict("records")}
    assert {child.data.tags["trial.number"] for child in children} == set(expected)
    for child in children:
        trial = expected[child.data.tags["trial.number"]]
        assert child.data.tags["trial.origin"] == trial["origin"]
        of = "" if np.isnan(trial["replicate_of"]) else str(int(trial["replicate_of"]))
        assert child.data.tags.get("trial.replicate_of", "") == of
    files = [file.path for file in client.list_artifacts(parent.info.run_id)]
    assert {"tradeoff.png", "replicates.png", "replicates.csv"} <= set(files)


def test_taken_up_again_only_what_is_missing_is_trained(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = load_study(runs, "small")
    assert study_run(*_arguments(runs), "--resume", "--replicates", 2) == 0
    same = load_study(runs, "small")
    assert same.trials.equals(before.trials)
    assert study_run(*_arguments(runs), "--resume", "--replicates", 3) == 0
    more = load_study(runs, "small")
    members = len(replicates.info(before).rows)
    assert len(_replicates(more)) == len(_replicates(before)) + members
    assert all(seeds == [1, 2, 3] for seeds in replicates.info(more).seeds)
    assert choose(more).front.tolist() == choose(before).front.tolist()
    text = capsys.readouterr().out
    assert "fresh seeds" in text and f"{3 * members} replicates: {3 * members} completed" in text
    record = json.loads((runs / "small" / "study.json").read_text())
    assert record["num_trials"] == 4 and record["outcome"] == "completed"


def _asked(runs_dir: Path) -> dict[int, list[int]]:
    """The seeds that each trial of the study `toy` is to be trained again with, two each."""
    asked: dict[int, list[int]] = {}
    ledger: Any = SimpleNamespace(replicate=lambda number, seeds: asked.update({number: list(seeds)}))
    replicate_front(SimpleNamespace(request=SimpleNamespace(runs=runs_dir, name="toy")), 2, ledger)  # type: ignore[arg-type]
    return asked


def test_seeds_are_fresh_where_the_search_varies_them(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    for number, seed in enumerate((0, 1, 7)):
        point = {"val/reconstruction_mse": 0.01 * (1 + number), "val/sample_fid": 9.0 - number, "epoch": 1}
        write_trial(directory, number, TrialConfig(seed=seed), [point])
    assert _asked(tmp_path) == {0: [8, 9], 1: [8, 9], 2: [8, 9]}


def test_the_front_under_the_fitted_prior_is_replicated_too(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    for number, (error, normal, fitted) in enumerate([(0.01, 5.0, 4.0), (0.02, 6.0, 3.0), (0.03, 7.0, 3.5)]):
        scores = {"val/reconstruction_mse": error, "val/sample_fid": normal, "val/fitted_fid": fitted, "epoch": 1}
        write_trial(directory, number, TrialConfig(), [scores])
    assert _asked(tmp_path) == {0: [1, 2], 1: [1, 2]}


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        (["--replicates"], ["--replicates", "5"]),
        (["--replicates", "--resume"], ["--replicates", "5", "--resume"]),
        (["--replicates", "3"], ["--replicates", "3"]),
        (["--epochs", "5"], ["--epochs", "5"]),
    ],
)
def test_replicates_without_a_number_are_five(given: list[str], filled: list[str]) -> None:
    assert with_default_replicates(given) == filled
