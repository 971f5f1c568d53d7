"""Studies that trade off other metrics than the default ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import tradeoff
from study.measure.metrics import METRICS
from study.results.choice import choose
from study.results.frame import load_study
from tests.test_run import study_run

SPACE = """
from study import SearchSpace, weight_range

SPACE = SearchSpace(
    question="What does the rate buy?",
    suggest=lambda trial, data: {{"weight": trial.suggest_float("weight", *weight_range(data, "kl"), log=True)}},
    base={{"encoder": "{encoder}", "regularizer": "{regularizer}", "latent_dim": 4}},
    objectives={objectives},
)
"""


def write_space(folder: Path, objectives: tuple[str, ...], encoder: str = "gaussian", regularizer: str = "kl") -> Path:
    path = folder / "objectives.py"
    path.write_text(SPACE.format(objectives=objectives, encoder=encoder, regularizer=regularizer))
    return path


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("objectives", [("elbo", "kl"), ("reconstruction_mse", "coverage")])
def test_a_study_trades_off_what_its_space_names(tmp_path: Path, objectives: tuple[str, ...], capsys) -> None:
    space = write_space(tmp_path, objectives)
    arguments = ["--space", space, "--runs-dir", tmp_path / "runs", "--study", "a", "--num-trials", 4, "--epochs", 8]
    assert study_run(*arguments) == 0
    capsys.readouterr()
    frames = load_study(tmp_path / "runs", "a")
    assert list(frames.objectives.items()) == [(f"val/{name}", METRICS[name].direction) for name in objectives]
    front = choose(frames).front
    assert front.size and not tradeoff.info(frames).missing
    for row in front:  # an objective is what the last epoch measured, as the final evaluation found it again
        last = frames.trials.iloc[row]
        epochs, values = frames.curve(int(row), f"val/{objectives[1]}")
        assert epochs[-1] == 8 and values[-1] == last[f"val/{objectives[1]}"]
        assert len(values) > 1  # at the rungs too


@pytest.mark.parametrize(
    ("objective", "encoder", "regularizer", "method"),
    [("nll", "deterministic", "rae_l2", "RAE-L2"), ("elbo", "gaussian", "mmd", "WAE-MMD Gaussian")],
)
def test_faults_met_trials_that_lack_an_objective_are_refused_beforehand(
    tmp_path: Path, capsys, objective: str, encoder: str, regularizer: str, method: str
) -> None:
    space = write_space(tmp_path, ("reconstruction_mse", objective), encoder, regularizer)
    space.write_text(space.read_text().replace('"latent_dim": 4', '"latent_dim": 4, "kernel": "imq"'))
    assert study_run("--space", space, "--runs-dir", tmp_path / "runs", "--dry-run") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{space}, line 8: trial 0: objectives='{objective}': a trial of {method} with likelihood gaussian" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "objective", ["sample_fit", *(name for name, metric in METRICS.items() if metric.direction == "none")]
)
def test_an_unknown_objective_or_one_without_a_direction_is_refused_in_one_line(
    tmp_path: Path, objective: str, capsys
) -> None:
    space = write_space(tmp_path, ("reconstruction_mse", objective))
    assert study_run("--space", space, "--runs-dir", tmp_path / "runs", "--dry-run") == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and f"objective '{objective}': choose from reconstruction_mse" in error
    assert not (tmp_path / "runs").exists()
