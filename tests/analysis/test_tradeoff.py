from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import replicates, tradeoff
from analysis.plotting import labels, naming, style
from analysis.tradeoff import describe, plot
from study.config import TrialConfig
from study.results import pareto
from study.results.choice import choose
from study.results.frame import StudyFrames, join_studies, load_study
from tests.helpers_study import PCA_MSE, REAL_DATA, make_study, write_trial


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    runs = tmp_path_factory.mktemp("runs")
    make_study(runs, replicates=2)
    return load_study(runs, "toy")


def test_front_is_that_of_completed_first_seeds(frames: StudyFrames) -> None:
    info = tradeoff.info(frames)
    points = list(enumerate(zip(info.x, info.y, strict=True)))
    allowed = [
        point for point in points if info.outcome[point[0]] == "completed" and info.origin[point[0]] != "replicate"
    ]
    expected = {i for i, p in allowed if not any(a <= p[0] and b <= p[1] and (a, b) != p for _, (a, b) in allowed)}
    assert set(info.front.tolist()) == expected
    assert (np.diff(info.x[info.front]) > 0).all()
    assert (np.diff(info.y[info.front]) < 0).all()
    assert info.recommended == info.front[pareto.recommended(np.stack([info.x, info.y], axis=1)[info.front])]


def test_method_fronts_contain_only_their_method(frames: StudyFrames) -> None:
    info = tradeoff.info(frames)
    for method, front in info.method_fronts.items():
        assert set(info.method[front]) <= {method}
        assert (info.outcome[front] == "completed").all()
    everywhere = set(np.concatenate(list(info.method_fronts.values())).tolist())
    assert set(info.front.tolist()) <= everywhere


def test_baselines_are_those_of_the_objectives_split(frames: StudyFrames) -> None:
    info = tradeoff.info(frames)
    assert info.real_data == REAL_DATA["validation"]["sample_fid"]
    assert info.pca == {d: PCA_MSE[d] for d in sorted(set(info.latent_dim.astype(int)))}
    objectives = {"val/kl": "minimize", "test/sample_fid": "minimize"}
    info = tradeoff.info(dataclasses.replace(frames, records=(frames.study.replace(objectives=objectives),)))
    assert (info.x_name, info.y_name) == ("val/kl", "test/sample_fid")
    assert (info.pca, info.real_data) == ({}, REAL_DATA["test"]["sample_fid"])


def test_replicates_belong_to_the_trial_they_repeat(frames: StudyFrames) -> None:
    info = tradeoff.info(frames)
    found = info.replicated
    assert sorted(info.trial[found.rows]) == ["0", "1"]
    assert (found.search == np.stack([info.x, info.y], axis=1)[found.rows]).all()
    of_replicates = {point for point, origin in zip(zip(info.x, info.y, strict=True), info.origin, strict=True)
                     if origin == "replicate"}  # fmt: skip
    assert {tuple(point) for group in found.values for point in group.tolist()} == of_replicates


def test_an_interval_below_zero_ends_at_a_log_axis(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    points = [(0.01, 100.0), (0.05, 4.0), (0.0101, 160.0), (0.0099, 40.0)]
    for number, (mse, fid) in enumerate(points):
        row = {"epoch": 1, "val/reconstruction_mse": mse, "val/sample_fid": fid}
        beyond: dict[str, Any] = {} if number < 2 else {"origin": "replicate", "replicate_of": 0}
        write_trial(directory, number, TrialConfig(seed=number, latent_dim=2 + number % 2), [row], **beyond)
    frames = load_study(tmp_path, "toy")
    found = replicates.info(frames)
    assert found.low[0, 1] < 0 < found.low[0, 0]
    [axes] = plot(tradeoff.info(frames)).axes
    assert axes.get_yscale() == "log"
    ends = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    assert any(y.tolist() == [axes.get_ylim()[0], found.high[0, 1]] for y in ends)
    panel = replicates.plot(found).axes[1]
    assert panel.get_xscale() == "log"
    ends = [np.asarray(line.get_xdata(), dtype=float) for line in panel.lines]
    assert any(len(x) == 2 and 0 < x[0] <= panel.get_xlim()[0] and x[1] == found.high[0, 1] for x in ends)


@pytest.mark.parametrize(
    ("beside", "above"),
    [((0.0101, 9.4), True), ((0.0101, 4.0), False)],  # the first is where trial 0's label would go, below it
)
def test_the_label_of_an_end_avoids_other_trials(tmp_path: Path, beside: tuple[float, float], above: bool) -> None:
    directory = make_study(tmp_path, trials=0)
    for number, (mse, fid) in enumerate([(0.01, 10.0), beside, (0.02, 2.0), (0.05, 1.0)]):
        row = {"epoch": 1, "val/reconstruction_mse": mse, "val/sample_fid": fid}
        write_trial(directory, number, TrialConfig(seed=number), [row])
    [axes] = plot(tradeoff.info(load_study(tmp_path, "toy"))).axes
    sides = {text.get_text(): text.get_verticalalignment() for text in axes.texts}
    assert (sides["trial 0"], sides["trial 3"]) == ("bottom" if above else "top", "top")


def test_the_label_of_an_end_does_not_touch_that_of_the_recommended_trial(tmp_path: Path) -> None:
    """Seen in a study of ten methods: the recommended trial's label ended where that of the front's end began."""
    directory = make_study(tmp_path, trials=0)
    trials = {0: (0.0085, 10.3), 222: (0.0125, 4.66), 3: (0.0129, 4.24), 4: (0.08, 200.0)}
    for number, (mse, fid) in trials.items():
        row = {"epoch": 1, "train/weight": 0.1, "val/reconstruction_mse": mse, "val/sample_fid": fid}
        config = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.1, seed=number)
        write_trial(directory, number, config, [row])
    [axes] = plot(tradeoff.info(load_study(tmp_path, "toy"))).axes
    named = [text for text in axes.texts if text.get_text().startswith(("trial", "compromise"))]
    assert any("222" in text.get_text() for text in named)
    for one, other in itertools.combinations(named, 2):
        assert not labels._extent(one).overlaps(labels._extent(other)), (one, other)


@pytest.mark.parametrize(("fid", "at_left"), [(8.4, True), (3.5, False), (0.5, False)])  # in the way, below, far below
def test_the_recommended_trial_s_label_does_not_touch_that_of_the_real_data(
    tmp_path: Path, fid: float, at_left: bool
) -> None:
    directory = make_study(tmp_path, trials=0, references={"real_data": {"validation": {"sample_fid": fid}}})
    for number, (mse, score) in enumerate([(0.01, 90.0), (0.034, 12.0), (0.04, 10.5), (0.012, 80.0)]):
        row = {"epoch": 1, "train/weight": 0.1, "val/reconstruction_mse": mse, "val/sample_fid": score}
        config = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.1, seed=number)
        write_trial(directory, number, config, [row])
    [axes] = plot(tradeoff.info(load_study(tmp_path, "toy"))).axes
    named = [text for text in axes.texts if text.get_text()]
    [real_data] = [text for text in named if "real-data" in text.get_text()]
    assert any("compromise: trial 1" in text.get_text() for text in named)
    assert (real_data.get_horizontalalignment() == "left") == at_left
    for one, other in itertools.combinations(named, 2):
        assert not labels._extent(one).overlaps(labels._extent(other)), (one, other)


def test_a_maximised_objective_reverses_the_front(frames: StudyFrames) -> None:
    turned = {"val/reconstruction_mse": "minimize", "val/sample_fid": "maximize"}
    info = tradeoff.info(dataclasses.replace(frames, records=(frames.study.replace(objectives=turned),)))
    assert (np.diff(info.y[info.front]) > 0).all()


def test_trials_without_values_are_counted_not_drawn(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=4, mixed=False)
    nan_row = {"epoch": 1, "val/reconstruction_mse": float("nan"), "val/sample_fid": 1.0}
    write_trial(directory, 4, TrialConfig(), [nan_row])
    info = tradeoff.info(load_study(tmp_path, "toy"))
    assert (len(info.x), info.left_out) == (4, 1)
    assert "1 more trial without finite values is not shown" in describe(info)


def test_an_unfinished_study_has_a_clear_message(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0, outcome="running")
    write_trial(directory, 0, TrialConfig(), [{"epoch": 1, "train/loss": 1.0}], outcome="running")
    info = tradeoff.info(load_study(tmp_path, "toy"))
    assert info.missing == "study toy: nothing to draw, no trial has both objectives (1 running)"
    assert choose(load_study(tmp_path, "toy")).recommended is None


def test_several_studies_keep_their_names(tmp_path: Path) -> None:
    make_study(tmp_path, "a", trials=3)
    make_study(tmp_path, "b", trials=3, seed=1)
    alone = [load_study(tmp_path, name) for name in "ab"]
    info = tradeoff.info(join_studies(alone))
    for name, frames in zip("ab", alone, strict=True):
        front = tradeoff.info(frames)
        assert info.trial[info.study_fronts[name]].tolist() == [f"{name}/{front.trial[row]}" for row in front.front]
        assert front.study_fronts == {}
    assert info.trial.tolist() == ["a/0", "a/1", "a/2", "b/0", "b/1", "b/2"]
    plot(info)


def test_colours_go_by_what_varies_if_all_trials_are_of_one_method(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    row = {"epoch": 1, "val/reconstruction_mse": 0.02, "val/sample_fid": 9.0}
    vae = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.1)
    for number, likelihood in enumerate(["gaussian", "laplace", "gaussian_scalar", "laplace"]):
        write_trial(directory, number, vae.replace(likelihood=likelihood), [row])
    frames = load_study(tmp_path, "toy")
    info = tradeoff.info(frames)
    kinds = ["VAE, gaussian", "VAE, laplace", "VAE, gaussian_scalar", "VAE, laplace"]
    assert info.method.tolist() == kinds
    with style.of_study(frames):
        looks = {kind: style.method_style(kind) for kind in kinds}
        [legend] = tradeoff.plot(info).legends
    assert len(set(looks.values())) == 3
    assert {"VAE, gaussian (1)", "VAE, laplace (2)"} <= {text.get_text() for text in legend.get_texts()}
    mixed = frames.trials.assign(method=["VAE", "VAE", "AE", "VAE"])
    assert naming.groups(dataclasses.replace(frames, trials=mixed)).tolist() == ["VAE", "VAE", "AE", "VAE"]
