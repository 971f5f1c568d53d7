from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis import latent_table
from analysis.latent_table import compares_sizes, render
from analysis.reporting.page import write_report
from study.config import TrialConfig
from study.results.frame import load_study
from tests.helpers_study import make_study, write_trial

AE = TrialConfig(latent_dim=8, epochs=1)
VAE = TrialConfig(latent_dim=8, epochs=1, encoder="gaussian", regularizer="kl", weight=0.1)


def row(mse: float, sample_fid: float, fitted_fid: float) -> dict[str, float]:
    test = {"reconstruction_mse": mse, "sample_fid": sample_fid, "fitted_fid": fitted_fid}
    objectives = {"val/reconstruction_mse": mse, "val/sample_fid": sample_fid}
    return {"epoch": 1, "time": 0.0, **objectives, **{f"test/{name}": value for name, value in test.items()}}


def test_latent_table_of_methods_sizes_and_seeds(tmp_path: Path) -> None:
    directory = make_study(tmp_path, "toy", trials=0, references={"pca": {"test": {"8": 0.0375, "16": 0.0269}}})
    write_trial(directory, 0, AE, [row(0.02, 30.0, 4.5)], origin="grid")
    for number, mse in enumerate((0.03, 0.01, 0.025), start=1):
        write_trial(directory, number, VAE.replace(seed=number), [row(mse, 12.0, 11.0)], origin="grid")
    write_trial(directory, 4, VAE.replace(latent_dim=16), [row(0.02, 9.0, 8.0)], origin="grid")
    write_trial(directory, 5, AE.replace(latent_dim=2), [], origin="grid", outcome="failed")
    table = latent_table.info(load_study(tmp_path, "toy"))
    assert (table.sizes, table.methods) == ([8, 16], ["AE", "VAE"])
    assert table.weights.tolist() == [[0, 0], [0.1, 0.1]]
    assert table.pca.tolist() == [0.0375, 0.0269]
    assert table.values[0].tolist() == [[0.02, 30.0, 4.5], [0.025, 12.0, 11.0]]
    assert np.isnan(table.values[1, 0]).all()
    assert render(table).splitlines()[2:] == [
        "| d | PCA | AE | VAE, w = 0.1 |",
        "| --- | --- | --- | --- |",
        "| 8 | .0375 | .0200 / 30 / 4.5 | .0250 / 12 / 11 |",
        "| 16 | .0269 | - | .0200 / 9.0 / 8.0 |",
    ]


@pytest.mark.parametrize(("score", "text"), [(0.994, ".99"), (0.996, "1.0"), (9.96, "10"), (float("nan"), "-")])
def test_scores_have_two_digits(tmp_path: Path, score: float, text: str) -> None:
    directory = make_study(tmp_path, "toy", trials=0)
    write_trial(directory, 0, AE, [row(0.02, 3.0, score)], origin="grid")
    assert f" / 3.0 / {text} |" in render(latent_table.info(load_study(tmp_path, "toy")))


def test_the_report_has_the_table_where_a_method_has_one_weight(tmp_path: Path) -> None:
    directory = make_study(tmp_path, "toy", trials=0, references={"pca": {"test": {"8": 0.0375, "16": 0.0269}}})
    write_trial(directory, 0, AE, [row(0.02, 30.0, 4.5)], origin="grid")
    write_trial(directory, 1, VAE.replace(latent_dim=16), [row(0.0123, 9.0, 8.0)], origin="grid")
    frames = load_study(tmp_path, "toy")
    assert compares_sizes(latent_table.info(frames))
    page = write_report(frames, tmp_path / "out")[0].read_text()
    assert "<td>.0123 / 9.0 / 8.0</td>" in page and "<td>.0375</td>" in page and 'href="#sizes"' in page
    write_trial(directory, 2, VAE.replace(latent_dim=16, weight=0.5), [row(0.03, 8.0, 7.0)], origin="grid")
    frames = load_study(tmp_path, "toy")
    assert not compares_sizes(latent_table.info(frames))
    assert 'id="sizes"' not in write_report(frames, tmp_path / "out")[0].read_text()


@pytest.mark.parametrize("trials", [0, 24])
def test_latent_table_of_a_study_without_trials_and_of_any_other(tmp_path: Path, trials: int) -> None:
    make_study(tmp_path, "toy", trials=trials)
    text = render(latent_table.info(load_study(tmp_path, "toy")))
    assert ("w = " in text) == (trials > 0)
