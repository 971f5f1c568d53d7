"""Codes that are maps, from the search to the exported model: every method, metric, figure and command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.built_in import METHODS
from study.results.choice import choose
from study.results.frame import load_study
from study.tracking.store import connect, sqlite_uri
from tests.test_export import study_export
from tests.test_retrain import study_retrain
from tests.test_run import study_run
from tests.test_sample import study_sample

SPACE = """
from study import SearchSpace
from study.code_map import map_pixels
from study.built_in import METHODS


def suggest(trial, data):
    encoder, regularizer = METHODS[trial.suggest_categorical("label", tuple(METHODS))]
    network = trial.suggest_categorical("network", ("residual_f4", "residual_f8"))
    return {
        "network": network,
        "latent_dim": 3 * map_pixels(data, network),
        "encoder": encoder,
        "regularizer": regularizer,
        "kernel": "imq" if regularizer in ("mmd", "info_vae") else "none",
        "weight": 1e-6 * data.total_variance if regularizer != "none" else 0.0,
    }


def first_points(data):
    networks = ("residual_f4", "residual_f8")
    return [{"label": label, "network": networks[number % 2]} for number, label in enumerate(METHODS)]


SPACE = SearchSpace(
    question="Does everything work on maps?",
    suggest=suggest,
    first_points=first_points,
    base={"width": 8, "epochs": 2},
    grid=True,
)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """A runs folder with a finished study `maps`: a trial of every method, the networks by turns."""
    folder = tmp_path_factory.mktemp("maps")
    (folder / "maps.py").write_text(SPACE)
    assert study_run("--space", folder / "maps.py", "--runs-dir", folder / "runs", "--study", "maps") == 0
    return folder / "runs"


def test_every_method_trains_and_is_measured_on_maps(runs: Path) -> None:
    frames = load_study(runs, "maps")
    assert set(frames.text("method")) == set(METHODS) and set(frames.text("outcome")) == {"completed"}
    sizes = {"residual_f4": (12, "3x2x2"), "residual_f8": (3, "3x1x1")}
    for row, network in enumerate(frames.text("network")):
        trial, arrays = frames.trials.iloc[row], frames.arrays(row)
        assert (trial["latent_dim"], trial["latent_shape"]) == sizes[network]
        assert arrays is not None and arrays["codes"].shape == (360, trial["latent_dim"])
    measured = [name for name in frames.trials if name.startswith(("val/", "test/"))]
    for name in ("val/sample_fid", "val/expost_fid", "val/latent_mmd", "test/interpolation_fid"):
        assert name in measured and np.isfinite(frames.column(name)).all()
    gaussian = frames.text("encoder") == "gaussian"
    assert np.isfinite(frames.column("val/kl")[gaussian]).all()
    assert (frames.column("val/active_units")[gaussian] <= frames.column("latent_dim")[gaussian]).all()


def test_report_of_maps_draws_every_figure(runs: Path) -> None:
    page = (runs / "maps" / "report" / "report.html").read_text()
    assert "3x2x2" in page and "latent_scatter" in page
    for picture in (runs / "maps" / "report").glob("*.png"):
        Image.open(picture).verify()


def test_mlflow_records_the_map_as_a_param(runs: Path) -> None:
    client = connect(sqlite_uri(runs / "mlflow.db"))
    [run] = client.search_runs(["1"], "tags.`trial.number` = '0'")
    assert run.data.params["latent_shape"] == "3x2x2" and run.data.params["latent_dim"] == "12"


def test_a_trial_with_a_map_is_retrained_sampled_and_exported(runs: Path, tmp_path: Path) -> None:
    number = int(choose(load_study(runs, "maps")).front[0])  # after two epochs none is recommended
    shared = ["--study", "maps", "--runs-dir", runs]
    assert study_retrain(*shared, "--trial", number, "--epochs", 3) == 0
    frames = load_study(runs, "maps")
    again = int(np.flatnonzero(frames.text("origin") == "retrain")[0])
    assert frames.text("latent_shape")[again] == frames.text("latent_shape")[number]
    assert study_sample(*shared, "--trial", again, "--out", tmp_path / "samples.png") == 0
    assert study_export(*shared, "--trial", again, "--no-log-to-mlflow", "--out", tmp_path / "model") == 0
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["params"]["latent_shape"] == frames.text("latent_shape")[number]
