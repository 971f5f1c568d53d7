from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.reporting.summary import summarise
from study.config import TrialConfig
from study.results.choice import choose, replicates_of, seed_groups
from study.results.frame import load_study
from tests.helpers_study import make_study, write_trial

POINTS = {  # (method, mse, fid); knee: trial 1
    0: ("VAE", 0.010, 100.0),
    1: ("VAE", 0.015, 20.0),
    2: ("WAE-GAN", 0.060, 10.0),
    3: ("WAE-GAN", 0.061, 101.0),
}
CONFIGS = {"VAE": TrialConfig(encoder="gaussian", regularizer="kl", weight=0.05), "AE": TrialConfig()}
CONFIGS["WAE-GAN"] = TrialConfig(regularizer="adversarial", weight=0.05)


def study(tmp_path: Path) -> Path:
    directory = make_study(tmp_path, trials=0)
    for number, (method, mse, fid) in POINTS.items():
        row = {"val/reconstruction_mse": mse, "val/sample_fid": fid, "test/reconstruction_mse": 0.017}
        write_trial(directory, number, CONFIGS[method], [{"epoch": 1, "train/weight": CONFIGS[method].weight, **row}])
    return directory


def test_recommends_the_knee_and_names_the_two_other_picks(tmp_path: Path) -> None:
    study(tmp_path)
    text = summarise(load_study(tmp_path, "toy")).sentences
    assert text[0].startswith("Take trial 1 (VAE, d=8, w=0.05), the knee of the front: reconstruction error 0.015")
    assert "0.015 (+50 %), sample FID 20 (2 times the best), on validation images." in text[0]
    # log 1.5 / log 6 of the width and log 2 / log 10 of the height: 1 - .226 - .301
    assert text[1].startswith("The knee is 0.47 deep")
    assert "The knee would be another trial in 0 % of repeats under the measurement's noise (3 % in" in text[1]
    assert text[2] == (
        "Nearly the best reconstruction: trial 0 (VAE, d=8, w=0.05): reconstruction error 0.01 (the best), "
        "sample FID 100 (10 times the best)."
    )
    assert text[3] == (
        "Nearly the best samples: trial 2 (WAE-GAN, d=8, w=0.05): reconstruction error 0.06 (6 times the best), "
        "sample FID 10 (the best)."
    )
    assert "On the test images" in text[4]
    assert "reconstruction error 0.017" in text[4]
    assert "one seed" in text[-1]


def test_methods_are_ranked_by_the_area_they_dominate(tmp_path: Path) -> None:
    study(tmp_path)
    rows = summarise(load_study(tmp_path, "toy")).methods
    assert [(row.method, row.completed, row.on_front, row.best) for row in rows] == [
        ("VAE", 2, 2, (0.010, 20.0)),
        ("WAE-GAN", 2, 1, (0.060, 10.0)),
    ]
    assert 0 < rows[1].share < rows[0].share < 1


def test_noise_is_pooled_over_replicated_trials(tmp_path: Path) -> None:
    directory = study(tmp_path)
    for number, fid in ((4, 26.0), (5, 22.0)):
        row = {"epoch": 1, "val/reconstruction_mse": 0.015, "val/sample_fid": fid, "train/weight": 0.05}
        config = CONFIGS["VAE"].replace(seed=number)
        write_trial(directory, number, config, [row], origin="replicate", replicate_of=1)
    frames = load_study(tmp_path, "toy")
    assert replicates_of(frames) == {1: [4, 5]}
    found = summarise(frames)
    assert found.noise == pytest.approx(
        (0.0, np.std([26, 22], ddof=1) / 24)
    )  # without trial 1's own 20, which was selected
    assert "12 % in sample FID" in found.sentences[-1]
    assert (
        "Trained again with 2 fresh seeds, the recommended trial has reconstruction error 0.015" in found.sentences[-2]
    )
    assert "sample FID 24 (95 % interval -1.45 to 49.5; in the search 20)" in found.sentences[-2]
    assert choose(frames).front.tolist() == [0, 1, 2]  # trial 5, a replicate, is not on it


def test_a_trial_that_never_reached_its_weight_cannot_be_chosen(tmp_path: Path) -> None:
    directory = study(tmp_path)
    row = {"epoch": 1, "val/reconstruction_mse": 0.001, "val/sample_fid": 1.0, "train/weight": 0.02}
    write_trial(directory, 4, CONFIGS["VAE"], [row])
    assert 4 not in choose(load_study(tmp_path, "toy")).front


@pytest.mark.parametrize("trials", [0, 1, 2])
def test_small_studies_have_a_summary_or_say_why_not(tmp_path: Path, trials: int) -> None:
    make_study(tmp_path, trials=trials, mixed=False)
    text = " ".join(summarise(load_study(tmp_path, "toy")).sentences)
    assert ("No trial has completed" in text) == (trials == 0)
    assert "nan" not in text


def test_the_seeds_of_a_grid_give_the_noise(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0, grid=True)
    points = {
        "VAE": [(0.030, 6.0), (0.031, 7.0), (0.029, 7.5)],
        "AE": [(0.0305, 6.5), (0.040, 40.0), (0.0295, 50.0)],
    }
    trials = [(method, seed, point) for method, found in points.items() for seed, point in enumerate(found)]
    for number, (method, seed, (mse, fid)) in enumerate(trials):
        config = CONFIGS[method].replace(seed=seed)
        row = {"epoch": 1, "val/reconstruction_mse": mse, "val/sample_fid": fid, "train/weight": config.weight}
        write_trial(directory, number, config, [row], origin="grid")
    frames = load_study(tmp_path, "toy")
    everything = np.arange(len(frames.trials))
    assert seed_groups(frames, everything) == [[0, 1, 2], [3, 4, 5]]
    assert seed_groups(frames, everything[:4]) == [[0, 1, 2]]
    found = summarise(frames)
    groups = [np.array(group) for group in points.values()]
    variance = np.mean([(group.std(axis=0, ddof=1) / group.mean(axis=0)) ** 2 for group in groups], axis=0)
    assert found.noise == pytest.approx(np.sqrt(variance))  # groups of equal size: the pooled variance is the mean
    assert found.sentences[0].startswith("Take trial 0 ")
    assert "one seed" not in " ".join(found.sentences)
    assert (
        "3 seeds; their mean is reconstruction error 0.03 (0.029 to 0.031) and sample FID 6.83 (6 to 7.5)"
        in (found.sentences[-2])
    )
    assert found.sentences[-1].endswith("cannot be distinguished from trial 3.")  # 1 and 2 are the same


def test_equal_trials_of_one_seed_give_no_noise(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    row = {"epoch": 1, "val/reconstruction_mse": 0.02, "val/sample_fid": 9.0}
    for number in range(2):
        write_trial(directory, number, TrialConfig(), [row])
    found = summarise(load_study(tmp_path, "toy"))
    assert np.isnan(found.noise).all()


def test_few_seeds_are_mentioned_and_many_names_are_shortened(tmp_path: Path) -> None:
    directory = study(tmp_path)

    def replicated(seeds: range) -> list[str]:
        for seed in seeds:
            for trial in (0, 1):
                method, mse, fid = POINTS[trial]
                config, factor = CONFIGS[method].replace(seed=seed), 1 + 0.3 * (-1) ** seed
                row = {"epoch": 1, "val/reconstruction_mse": mse * factor, "val/sample_fid": fid * factor}
                row["train/weight"] = config.weight
                write_trial(directory, 10 * seed + trial, config, [row], origin="replicate", replicate_of=trial)
        return summarise(load_study(tmp_path, "toy")).sentences

    few = replicated(range(1, 3))
    assert "Of the 2 replicated trials, it does not differ significantly from trial 0 (Welch's t-test" in few[-2]
    assert few[-2].endswith("So few seeds detect only large differences: those trials need not be equally good.")
    for number in range(200, 210):
        row = {"epoch": 1, "val/reconstruction_mse": 0.0151, "val/sample_fid": 20.0 + number / 1000}
        write_trial(directory, number, CONFIGS["AE"].replace(latent_dim=number - 198), [row])
    many = replicated(range(3, 9))
    assert not any("So few seeds" in sentence for sentence in many)
    assert many[-1].endswith("from trials 200, 201, 202, 203, 204, 205, 206, 207 and 2 more (unreplicated).")


def test_a_trial_that_is_best_in_everything_is_not_called_a_knee(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    for number, words in enumerate(("the only one that can be chosen", "the best in every objective")):
        row = {"epoch": 1, "val/reconstruction_mse": 0.02 + number, "val/sample_fid": 9.0 + number}
        write_trial(directory, number, TrialConfig(latent_dim=number + 2), [row])
        assert summarise(load_study(tmp_path, "toy")).sentences[0].startswith(f"Take trial 0 (AE, d=2), {words}: ")
