from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from analysis import collapse
from analysis.collapse import MOST_GROUPS, describe, plot
from study.config import TrialConfig
from study.results.frame import load_study
from tests.helpers_study import make_study, write_trial

VAE = TrialConfig(encoder="gaussian", regularizer="kl", weight=1.0, latent_dim=4, epochs=2)


def rows(*active: int) -> list[dict[str, float]]:
    row = {"val/reconstruction_mse": 0.02, "val/sample_fid": 9.0, "train/weight": 1.0}
    return [{"epoch": epoch, **row, "val/active_units": units} for epoch, units in enumerate(active, start=1)]


def test_collapse_groups_seeds_and_sorts_units(tmp_path: Path) -> None:
    directory = make_study(tmp_path, "toy", trials=0)
    for seed in range(2):
        write_trial(directory, seed, VAE.replace(seed=seed), rows(4, 3 - seed), origin="grid")
    ramped = VAE.replace(annealing="linear", annealing_fraction=0.5)
    folder = write_trial(directory, 2, ramped, rows(4, 0), origin="grid")
    write_trial(directory, 3, TrialConfig(epochs=2), [{"epoch": 2, "val/reconstruction_mse": 0.1}], origin="grid")
    np.savez(folder / "attempt-1" / "arrays.npz", kl_per_unit=np.array([0.1, 2.0, 0.0, 0.3], np.float32))
    info = collapse.info(load_study(tmp_path, "toy"))
    constant, linear = info.groups
    assert (constant.label, linear.label) == ("constant", "linear")
    assert [values.tolist() for _, values in constant.curves] == [[4, 3], [4, 2]]
    assert constant.units is None and linear.units is not None
    assert linear.units.tolist() == np.array([2.0, 0.3, 0.1, 0.0], np.float32).tolist()
    assert "constant: 3, 2; linear: 0" in describe(info) and "1 collapsed" in describe(info)
    plot(info).savefig(io.BytesIO(), dpi=30)


def test_collapse_shows_a_few_of_many_groups(tmp_path: Path) -> None:
    directory = make_study(tmp_path, "toy", trials=0)
    for number in range(30):
        config = VAE.replace(weight=0.1 * (number + 1))
        write_trial(directory, number, config, [{**row, "train/weight": 9.0} for row in rows(4, 4)])
    groups = collapse.info(load_study(tmp_path, "toy")).groups
    assert len(groups) == MOST_GROUPS
    assert (groups[0].label, groups[-1].label) == ("w=0.1", "w=3")


def test_collapse_calls_methods_by_their_names_and_sorts_latent_sizes_as_numbers(tmp_path: Path) -> None:
    directory = make_study(tmp_path, "toy", trials=0)
    for number, (regularizer, size) in enumerate([("kl", 16), ("kl", 4), ("info_vae", 4)]):
        write_trial(directory, number, VAE.replace(regularizer=regularizer, latent_dim=size), rows(4, 4))
    groups = collapse.info(load_study(tmp_path, "toy")).groups
    assert [group.label for group in groups] == ["InfoVAE, d=4", "VAE, d=4", "VAE, d=16"]
