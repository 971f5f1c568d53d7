from __future__ import annotations

import dataclasses
import io
import json
import math
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis import (
    first_stage,
    importances,
    interpolations,
    latent_scatter,
    latent_size,
    learning_curves,
    morphs,
    parallel,
    posterior_range,
    rate_distortion,
    reconstruction_history,
    reconstructions,
    search_progress,
    time_spent,
    tradeoff,
    weight_curves,
)
from analysis.latent_scatter import coordinate_pairs
from analysis.plotting import naming
from analysis.plotting.naming import configuration, number
from analysis.plotting.pictures import representatives, tile
from analysis.plotting.style import draw, method_style, of_study, save, use_log, worth_showing
from analysis.reconstruction_history import save_animation
from analysis.reporting.figures import FIGURES
from study.cli import command_status
from study.config import TrialConfig, UserError
from study.results.choice import choose, highlights, latent_groups
from study.results.frame import StudyFrames, join_studies, load_study
from study.results.pareto import hypervolume
from study.search.hypervolume import FrontVolume
from tests.helpers_study import PCA_MSE, arrays_of, make_study, study_record, write_trial

NAN = float("nan")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    make_study(directory, "toy", arrays=True, replicates=2)
    make_study(directory, "empty", trials=0)
    make_study(directory, "one", trials=1, mixed=False, arrays=True)
    make_study(directory, "bare", trials=3, mixed=False, references={})
    make_study(directory, "many", trials=1000, epochs=4)
    holes = make_study(directory, "holes", trials=3, mixed=False)
    for start, values in enumerate(((NAN, 1.0), (0.02, NAN), (NAN, NAN), (0.0, -1.0)), start=3):
        row = {"epoch": 1, "seconds": NAN, "val/reconstruction_mse": values[0], "val/sample_fid": values[1]}
        write_trial(holes, start, TrialConfig(), [{**row, "train/penalty": NAN}])
    unfinished = make_study(directory, "unfinished", trials=0, outcome="running")
    write_trial(unfinished, 0, TrialConfig(), [{"epoch": 1, "train/loss": 1.0}], outcome="running")
    write_trial(unfinished, 1, TrialConfig(), [], outcome="failed")
    return directory


@pytest.fixture(scope="module")
def toy(runs: Path) -> StudyFrames:
    return load_study(runs, "toy")


def without_columns(frames: StudyFrames) -> StudyFrames:
    """As from an old or reduced store: no metrics but the objectives, no history."""
    kept = [name for name in frames.trials if "/" not in name or name in frames.objectives]
    return dataclasses.replace(
        frames, trials=frames.trials[kept], history=frames.history.iloc[:0][["study", "number", "epoch"]]
    )


def load(runs: Path, study: str) -> StudyFrames:
    if study == "columns":
        return without_columns(load_study(runs, "toy"))
    if study == "two":
        return join_studies([load_study(runs, "toy"), load_study(runs, "one")])
    return load_study(runs, study)


@pytest.mark.parametrize("study", ["toy", "empty", "one", "holes", "many"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_renders_on_every_kind_of_study(runs: Path, name: str, study: str) -> None:
    module = FIGURES[name].module
    draw(module.info(load(runs, study)), module.plot).savefig(io.BytesIO(), dpi=30)


@pytest.mark.parametrize("study", ["toy", "empty", "one", "holes", "columns", "bare", "unfinished", "two"])
def test_every_figure_has_a_caption_for_every_kind_of_study(runs: Path, study: str) -> None:
    frames = load(runs, study)
    for _, module in FIGURES.values():
        info = module.info(frames)
        text = info.missing or module.describe(info)
        assert text
        assert "nan" not in text
        assert "\n" not in info.missing
        assert not (info.missing and study in ("toy", "two"))
        assert ("no trial yet" in info.missing) == (study == "empty")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_command(
    runs: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--study", "empty", "--runs-dir", str(runs), "--out", str(tmp_path / "x.png")]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.delitem(sys.modules, f"analysis.{name}")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"analysis.{name}", run_name="__main__")
    assert ended.value.code in (0, None)
    assert (tmp_path / "x.png").exists()
    assert "nothing to draw" in capsys.readouterr().err


def test_weight_curves_are_the_medians_of_their_bins(toy: StudyFrames) -> None:
    info = weight_curves.info(toy)
    eligible = choose(toy).eligible
    assert len(info.weight) == eligible.sum()
    for (method, group), curve in info.curves.items():
        members = (info.method == method) & (info.group == group) & (info.weight > 0)
        order = np.argsort(info.weight[members])
        assert curve.tolist() == np.column_stack([info.weight[members], info.values[members]])[order].tolist()
    assert info.unweighted["AE", info.groups.index("d = 8")].tolist() == info.values[info.method == "AE"][0].tolist()
    weight = np.exp(np.linspace(0, 10, 100))
    curve = weight_curves.binned(weight, np.column_stack([weight, -weight]), bins=5)
    assert curve.shape == (5, 3)
    assert curve[0, 0] == np.median(weight[:20])
    seeds = weight_curves.binned(np.array([2.0, 1, 2, 1, 2]), np.array([[7.0], [1], [9], [3], [8]]))
    assert seeds.tolist() == [[1, 2], [2, 8]]  # seeds at one weight are one point
    seeds = weight_curves.binned(np.full(30, 2.0), np.arange(30.0)[:, None])
    assert seeds.tolist() == [[2, 14.5]]
    assert (curve[:, 2] == -curve[:, 0]).all()


def test_a_single_weight_is_not_called_a_range(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    config = TrialConfig(regularizer="mmd", kernel="imq", weight=3.0)
    row = {"epoch": 1, "val/reconstruction_mse": 0.02, "val/sample_fid": 9.0, "train/weight": 3.0}
    write_trial(directory, 0, config, [row])
    info = weight_curves.info(load_study(tmp_path, "toy"))
    assert "1 trial with w = 3, " in weight_curves.describe(info)
    left, right = weight_curves.plot(info).axes[0].get_xlim()
    assert left * right == pytest.approx(9)  # in the middle of a log axis


def test_latent_size_shows_one_trial_per_method_and_size(toy: StudyFrames) -> None:
    info = latent_size.info(toy)
    rows = {tuple(row) for row in np.column_stack([info.latent_dim, info.values])}
    for method, knees in info.knees.items():
        assert {tuple(row) for row in knees} <= rows
        assert knees[:, 0].tolist() == sorted(set(info.latent_dim[info.method == method]))
    assert dict(info.pca) == {d: PCA_MSE[int(d)] for d in (2, 4, 8, 16)}


def test_rate_distortion_draws_the_sampled_codes_distortion(toy: StudyFrames) -> None:
    info = rate_distortion.info(toy)
    assert set(info.method) <= {"VAE", "WAE-MMD Gaussian"}
    rows = toy.trials.set_index("number").loc[info.trial.astype(int)]
    assert info.rate == pytest.approx(rows["val/kl"].to_numpy())
    assert info.distortion == pytest.approx(rows["val/distortion"].to_numpy())
    assert (info.distortion > 32 * rows["val/reconstruction_mse"].to_numpy()).all()  # the mean code's ½ · SSE
    assert sorted(np.concatenate(list(info.curves.values())).tolist()) == list(range(len(info.rate)))
    assert all(len(set(info.latent_dim[rows])) == 1 for rows in info.curves.values())
    assert "At a VAE's optimum, its curve has slope minus the weight." in rate_distortion.describe(info)


def test_rate_distortion_draws_one_likelihood_and_claims_no_slope_beside_other_terms(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    base = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.1, perceptual_weight=0.2)
    row = {"epoch": 1, "val/reconstruction_mse": 0.02, "val/sample_fid": 9.0, "val/kl": 4.0, "val/distortion": -8.0}
    for trial, likelihood in enumerate(("gaussian_scalar", "gaussian", "gaussian_scalar")):
        write_trial(directory, trial, base.replace(likelihood=likelihood), [{**row, "train/weight": 0.1}])
    info = rate_distortion.info(load_study(tmp_path, "toy"))
    assert (info.likelihood, info.others, info.trial.tolist()) == ("gaussian_scalar", 1, ["0", "2"])
    text = rate_distortion.describe(info)
    assert "slope" not in text and "1 trial with another likelihood left out" in text
    low, _ = rate_distortion.plot(info).axes[0].get_ylim()
    assert low <= -8


def test_search_progress_grows_to_one(toy: StudyFrames) -> None:
    info = search_progress.info(toy)
    curve = info.studies["toy"]
    assert curve[-1, 0] == toy.trials["epochs_done"][toy.trials["origin"] != "replicate"].sum()
    assert (np.diff(curve[:, 0]) > 0).all()
    assert (np.diff(curve[:, 1]) >= 0).all()
    assert curve[-1, 1] == pytest.approx(1)
    assert len(info.on_front["toy"]) == len(choose(toy).front)
    choice = choose(toy)
    log = np.log(choice.values)
    worst, best = log[choice.eligible].max(axis=0), log[choice.eligible].min(axis=0)
    reference = worst + 0.05 * (worst - best)
    half = choice.eligible & (toy.column("number") < 12)
    expected = hypervolume(log[half], reference) / hypervolume(log[choice.eligible], reference)
    assert curve[11, 1] == pytest.approx(expected)


def test_search_progress_leaves_out_a_study_in_which_nothing_ran(tmp_path: Path, toy: StudyFrames) -> None:
    directory = make_study(tmp_path, "failing", trials=0)
    write_trial(directory, 0, TrialConfig(), [], outcome="failed")
    info = search_progress.info(join_studies([toy, load_study(tmp_path, "failing")]))
    assert list(info.studies) == ["toy"]
    assert "toy had 95 %" in search_progress.describe(info)


def test_search_progress_is_the_hypervolume_on_record(tmp_path: Path) -> None:
    reference = [math.log(0.05), math.log(40.0)]  # some trials are beyond it
    make_study(tmp_path, hypervolume_reference=reference)
    frames = load_study(tmp_path, "toy")
    volume, volumes = FrontVolume(frames.objectives, reference), []
    for row in np.argsort(frames.column("last_time")):
        values = {name: float(frames.column(name)[row]) for name in frames.objectives}
        if all(map(math.isfinite, values.values())):
            volume.add(values, frames.text("outcome")[row] == "completed")
        volumes.append(volume.value)
    curve = search_progress.info(frames).studies["toy"]
    assert curve[:, 1] * volumes[-1] == pytest.approx(volumes)
    assert volumes[-1] > 0


def test_importances_sum_to_one_and_find_what_matters(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    generator = np.random.default_rng(0)
    for trial in range(40):
        weight, size = float(10 ** generator.uniform(-3, 1)), int(generator.choice([2, 4, 8]))
        config = TrialConfig(encoder="gaussian", regularizer="kl", weight=weight, latent_dim=size)
        row = {"epoch": 1, "val/reconstruction_mse": weight**0.5, "val/sample_fid": float(size)}
        write_trial(directory, trial, config, [{**row, "train/weight": weight}])
    info = importances.info(load_study(tmp_path, "toy"))
    assert info.params == ["weight", "latent_dim"]
    assert info.shares.sum(axis=0) == pytest.approx([1, 1])
    assert info.shares[0, 0] > 0.9
    assert info.shares[1, 1] > 0.9
    again = importances.info(load_study(tmp_path, "toy"))
    assert again.shares.tolist() == info.shares.tolist()


def test_importances_leave_out_what_the_method_fixes(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    vae = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.1)
    wae = TrialConfig(regularizer="mmd", kernel="imq", weight=3.0)
    values = {"epoch": 1, "val/reconstruction_mse": 0.02, "train/weight": 3.0}
    for trial in range(24):
        config = (TrialConfig(), vae, wae)[trial % 3].replace(latent_dim=2 ** (1 + trial // 3 % 3))
        write_trial(directory, trial, config, [{**values, "val/sample_fid": float(1 + trial % 3)}])
    frames = load_study(tmp_path, "toy")
    info = importances.info(frames)
    assert set(info.params) == {"method", "latent_dim"}  # not weight and kernel, which depend on the method alone
    assert info.shares[info.params.index("method"), 1] > 0.9
    alone = importances.info(frames.keep(frames.column("latent_dim") == 4))
    assert "two parameters" in alone.missing  # the share of a single one would be 1


def test_parallel_axes_keep_the_order_of_their_values(toy: StudyFrames) -> None:
    info = parallel.info(toy)
    drawn = toy.keep(choose(toy).eligible)
    for axis in info.axes:
        assert ((axis.position >= 0) & (axis.position <= 1)).all()
        if axis.name in ("weight", "latent_dim", *toy.objectives):
            values = drawn.column(axis.name)
            assert (
                np.sign(np.subtract.outer(values, values)) == np.sign(np.subtract.outer(axis.position, axis.position))
            ).all()
    assert info.on_front.sum() == len(choose(toy).front)
    knee = choose(toy).recommended
    assert knee is not None
    assert info.recommended is not None
    assert drawn.labels()[info.recommended] == toy.labels()[knee]


def test_time_adds_up(toy: StudyFrames) -> None:
    info = time_spent.info(toy)
    total = toy.history[["seconds", "evaluation_seconds", "final_seconds"]].sum().to_numpy()
    assert info.by_method.sum(axis=0) == pytest.approx(total)
    assert info.by_outcome.sum(axis=0) == pytest.approx(total)
    assert info.by_method.sum(axis=1).tolist() == sorted(info.by_method.sum(axis=1), reverse=True)


def test_curves_contain_what_was_measured(toy: StudyFrames) -> None:
    info = learning_curves.info(toy)
    assert info.metrics[:2] == list(toy.objectives)
    assert [trial.row for trial in info.named] == highlights(toy)
    assert info.named[0].is_knee
    assert len({(method_style(trial.method)[0], trial.dashes) for trial in info.named}) == len(info.named)
    for trial, (epochs, values) in zip(info.named, info.lines["val/sample_fid"], strict=True):
        number = int(toy.trials["number"].iloc[trial.row])
        history = toy.history[(toy.history["number"] == number) & toy.history["val/sample_fid"].notna()]
        assert epochs.tolist() == history["epoch"].tolist() == [3, 6, 9, 12]
        assert values.tolist() == history["val/sample_fid"].tolist()
    ranges = posterior_range.info(toy)
    assert set(ranges.lines) == {"val/mu_low", "val/mu_high", "val/sigma_low", "val/sigma_high", "val/latent_rms"}


def test_curves_of_a_method_and_its_gaussian_variant_differ(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    row = {"epoch": 1, "val/reconstruction_mse": 0.02, "val/sample_fid": 9.0}
    for trial, encoder in enumerate(("deterministic", "gaussian")):
        write_trial(directory, trial, TrialConfig(encoder=encoder, regularizer="adversarial", weight=1.0), [row])
    named = learning_curves.info(load_study(tmp_path, "toy")).named
    assert [trial.method for trial in named] == ["WAE-GAN", "WAE-GAN Gaussian"]
    assert method_style(named[0].method)[0] == method_style(named[1].method)[0]
    assert named[0].dashes != named[1].dashes


def test_a_trial_measured_once_shows_in_grey(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    rows = [{"epoch": epoch, "val/reconstruction_mse": 0.02 / epoch, "val/sample_fid": 9.0 / epoch} for epoch in (1, 2)]
    write_trial(directory, 0, TrialConfig(), rows)
    write_trial(directory, 1, TrialConfig(seed=1), rows[:1], outcome="stopped")
    info = learning_curves.info(load_study(tmp_path, "toy"))
    assert [len(epochs) for epochs, _ in info.background["val/sample_fid"]] == [1]
    marks = [line.get_marker() for line in learning_curves.plot(info).axes[0].lines if np.size(line.get_ydata()) == 1]
    assert marks == ["."]


def test_pictures_are_of_one_knee_per_method_and_size(toy: StudyFrames) -> None:
    found = representatives(toy, "samples", at_most=100)
    eligible = choose(toy).eligible
    pairs = {(m, int(d)) for m, d in zip(toy.text("method")[eligible], toy.column("latent_dim")[eligible], strict=True)}
    assert {(trial.method, trial.latent_dim) for trial in found} == pairs
    info = reconstructions.info(toy)
    assert len(info.rows) == len(info.labels) == len(representatives(toy, "samples")) + 1
    assert (info.rows[0] == found[0].arrays["originals"][:14]).all()
    few = representatives(toy, "samples", at_most=5)
    knee = choose(toy).recommended
    assert 1 <= len(few) <= 5 and knee in {trial.row for trial in few}
    sizes = {trial.latent_dim for trial in few}
    assert len(few) == min(5, sum(size in sizes for _, size in pairs))  # all methods of a size or none
    assert representatives(toy, "nothing of the kind") == []


@pytest.mark.parametrize("origin", ["grid", "search"])
def test_pictures_and_names_go_by_what_varies(tmp_path: Path, origin: str) -> None:
    directory = make_study(tmp_path, trials=0)
    plain = TrialConfig(encoder="gaussian", regularizer="kl", weight=1.0)
    learned, lighter = plain.replace(likelihood="gaussian_pixel"), plain.replace(weight=0.5)
    for index, config in enumerate((plain, learned, lighter)):
        row = {"epoch": 1, "val/reconstruction_mse": 0.01 + 0.001 * index, "val/sample_fid": 9.0 - index}
        folder = write_trial(directory, index, config, [{**row, "train/weight": config.weight}], origin=origin)
        images = np.full((4, 1, 8, 8), index, np.uint8)
        np.savez(folder / "attempt-1" / "arrays.npz", samples=images, originals=images, reconstructions=images)
    frames = load_study(tmp_path, "toy")
    found = representatives(frames, "samples")
    texts = ["VAE, gaussian, d=8, w=1", "VAE, gaussian, d=8, w=0.5", "VAE, gaussian_pixel, d=8, w=1"]
    # One weight of a search stands for all; every point of a grid is an answer of its own.
    best = {"grid": texts, "search": [texts[1], texts[2]]}[origin]
    assert sorted(trial.text for trial in found) == sorted(best)
    assert {trial.label.count("\n") for trial in found} == {2}
    assert [configuration(frames, row) for row in range(3)] == [texts[0], texts[2], texts[1]]
    few = representatives(frames, "samples", at_most=1)
    assert [trial.text for trial in few] == ["VAE, d=8"]  # no room to tell them apart


def test_the_caption_of_the_first_stage_has_its_error(toy: StudyFrames) -> None:
    info = first_stage.info(toy)
    arrays = representatives(toy, "first_stage")[0].arrays
    assert [row.tolist() for row in info.rows] == [arrays[name][:14].tolist() for name in ("originals", "first_stage")]
    errors = (arrays["originals"].astype(float) - arrays["first_stage"].astype(float)).ravel() / 255
    assert f"squared error per pixel is {errors @ errors / errors.size:.3g}." in info.caption


def test_history_is_of_the_knee_or_of_the_trial_asked_for(toy: StudyFrames, tmp_path: Path) -> None:
    knee = choose(toy).recommended
    assert knee is not None
    info = reconstruction_history.info(toy)
    assert f"trial {toy.labels()[knee]} " in info.title
    assert info.labels == ["data", "epoch 3", "epoch 6", "epoch 9", "epoch 12"]
    arrays = toy.arrays(knee)
    assert arrays is not None
    assert (info.rows[2] == arrays["history"][1]).all()
    assert "trial 0 " in reconstruction_history.info(toy, "0").title
    with pytest.raises(UserError, match="no trial 99"):
        reconstruction_history.info(toy, "99")
    bare = dataclasses.replace(toy, sources={})
    assert "no completed trial has saved a history" in reconstruction_history.info(bare).missing
    assert "trial 0 has not ended or has saved no history" in reconstruction_history.info(bare, "0").missing
    with Image.open(save_animation(info, tmp_path / "history.gif")) as animation:
        assert animation.n_frames == 4  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nonsense"])
def test_a_damaged_arrays_file_is_left_out(tmp_path: Path, content: bytes) -> None:
    directory = make_study(tmp_path, trials=2, mixed=False, arrays=True)
    (directory / "trials" / "0000" / "attempt-1" / "arrays.npz").write_bytes(content)
    frames = load_study(tmp_path, "toy")
    assert frames.arrays(0) is None
    assert frames.arrays(1) is not None
    assert [trial.trial for trial in representatives(frames, "codes")] == ["1"]


def test_tiles_are_in_order() -> None:
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 1, 2, 4), np.uint8)
    picture = tile(images, 2)
    assert picture.shape == (5, 9, 3)
    assert (picture[:2, :4], picture[:2, 5:], picture[3:, :4]) == (pytest.approx(0), pytest.approx(1), pytest.approx(2))
    assert (picture[2] == 255).all()
    colour = np.arange(3, dtype=np.uint8)[None, :, None, None] * np.ones((1, 3, 2, 2), np.uint8)
    assert tile(colour, 1)[0, 0].tolist() == [0, 1, 2]


def test_codes_are_drawn_by_their_widest_coordinates(toy: StudyFrames) -> None:
    assert coordinate_pairs(np.zeros((5, 1))) == [[0]]
    assert coordinate_pairs(np.zeros((5, 2))) == [[0, 1]]
    assert coordinate_pairs(np.zeros((5, 3))) == [[0, 1], [0, 2], [1, 2]]
    codes = np.random.default_rng(0).standard_normal((50, 5)) * [1, 5, 1, 4, 1]
    assert coordinate_pairs(codes) == [[1, 3]]
    info = latent_scatter.info(toy)
    assert (info.panels[0].labels == -1).all()
    assert all(len(panel.points) == len(panel.labels) for panel in info.panels)


def test_maps_that_differ_in_their_weight_say_so(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    row = {"epoch": 1, "val/reconstruction_mse": 0.02, "val/sample_fid": 9.0, "train/weight": 0.1}
    for index, weight in enumerate((0.01, 0.1)):
        config = TrialConfig(latent_dim=2, encoder="gaussian", regularizer="kl", weight=weight)
        folder = write_trial(directory, index, config, [row], origin="grid")
        np.savez(folder / "attempt-1" / "arrays.npz", **arrays_of(config, index))
    panels = latent_scatter.info(load_study(tmp_path, "toy")).panels
    assert [panel.title for panel in panels[1:]] == ["VAE\nd=2, w=0.01", "VAE\nd=2, w=0.1"]


def test_the_latent_space_is_drawn_in_two_and_three_dimensions_with_a_path(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    vae = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.1)
    configs = [TrialConfig(latent_dim=size) for size in (2, 3, 8)] + [vae.replace(latent_dim=size) for size in (4, 8)]
    row = {"epoch": 1, "val/reconstruction_mse": 0.02, "val/sample_fid": 9.0, "train/weight": 0.1}
    for index, config in enumerate(configs):
        folder = write_trial(directory, index, config, [row])
        np.savez(folder / "attempt-1" / "arrays.npz", **arrays_of(config, index))
    frames = load_study(tmp_path, "toy")
    prior, *panels = latent_scatter.info(frames).panels
    titles = ["AE d=2", "AE d=3, z1 and z2", "AE d=3, z1 and z3", "AE d=3, z2 and z3", "VAE d=4"]
    assert [" ".join(panel.title.split())[: len(title)] for panel, title in zip(panels, titles, strict=True)] == titles
    assert len(prior.path) == 0
    codes = arrays_of(configs[0], 0)["codes"]
    share = np.linspace(0, 1, 11)[:, None]
    assert panels[0].path == pytest.approx(
        (1 - share) * codes[0] + share * codes[8]
    )  # eight pairs: 0 and 8, 1 and 9, …


@pytest.mark.parametrize("classes", [1, 3])
def test_images_without_classes_are_drawn_without_a_legend_of_classes(tmp_path: Path, classes: int) -> None:
    directory = make_study(tmp_path, trials=0, data={**study_record()["data"], "num_classes": classes})
    config = TrialConfig(latent_dim=2)
    row = {"epoch": 1, "val/reconstruction_mse": 0.02, "val/sample_fid": 9.0}
    arrays = arrays_of(config, 0)
    arrays["labels"] = arrays["labels"] % classes
    if classes == 1:
        arrays |= {"morphs": arrays["morphs"][:0], "morph_classes": np.empty((0, 2), np.int64)}
    np.savez(write_trial(directory, 0, config, [row]) / "attempt-1" / "arrays.npz", **arrays)
    frames = load_study(tmp_path, "toy")
    info = latent_scatter.info(frames)
    [legend] = latent_scatter.plot(info).legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert [text for text in shown if "class" in text] == ([] if classes == 1 else ["class 0", "class 1", "class 2"])
    assert ("coloured by class" in latent_scatter.describe(info)) == (classes > 1)
    assert (morphs.ONE_CLASS in morphs.info(frames).missing) == (classes == 1)


def test_a_collapsed_point_is_not_called_inside(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    config = TrialConfig(encoder="gaussian", regularizer="kl", weight=9.0, latent_dim=2)
    arrays = arrays_of(config, 0)
    arrays["codes"] = (0.5 + 0.001 * np.random.default_rng(0).standard_normal((40, 2))).astype(np.float32)
    arrays["labels"] = arrays["labels"][:1].repeat(40)
    row = {"epoch": 1, "val/reconstruction_mse": 0.02, "val/sample_fid": 9.0, "train/weight": 9.0}
    np.savez(write_trial(directory, 0, config, [row]) / "attempt-1" / "arrays.npz", **arrays)
    text = latent_scatter.describe(latent_scatter.info(load_study(tmp_path, "toy")))
    assert "d=2: collapsed, all codes are nearly the same point" in text
    assert "100 %" not in text


def test_classes_have_their_names(tmp_path: Path) -> None:
    make_study(tmp_path, arrays=True, classes=["trouser", "7", "bag"])
    frames = load_study(tmp_path, "toy")
    assert [naming.class_name(frames, label) for label in range(4)] == ["trouser", "class 7", "bag", "class 3"]
    assert set(latent_scatter.info(frames).classes.values()) >= {"trouser", "bag"}
    assert morphs.info(frames).title == "An image of trouser moved towards class 7"


@pytest.mark.parametrize(
    "name", ["samples", "fitted_samples", "reconstructions", "interpolations", "morphs", "latent_scatter"]
)
def test_pictures_show_the_trials_that_are_named(toy: StudyFrames, name: str) -> None:
    figure: Any = FIGURES[name].module
    labels = toy.labels()[choose(toy).eligible][:3].tolist()[::-1]
    info = figure.info(toy, trials=labels)
    if name == "latent_scatter":
        shown = list(dict.fromkeys(panel.title.split("\n")[1].partition(",")[0] for panel in info.panels[1:]))
    elif hasattr(info, "rows"):
        shown = [label.partition("(")[2].rstrip(")") for label in info.labels if "(" in label]
    else:
        shown = [f"trial {trial.trial}" for trial in info.trials]
    assert shown == [f"trial {label}" for label in labels]
    with pytest.raises(UserError, match="no trial 999 in study toy: choose from 0 to"):
        figure.info(toy, trials=["999"])
    with pytest.raises(UserError, match=r"trial 9 has saved no .*: it is failed"):
        figure.info(toy, trials=["9"])


def test_interpolations_are_below_the_images_they_join(toy: StudyFrames) -> None:
    info = interpolations.info(toy, pair=3)
    arrays = representatives(toy, "interpolations")[0].arrays
    assert info.labels[0] == "data"
    assert (info.rows[0][0] == arrays["originals"][3]).all()
    assert (info.rows[0][-1] == arrays["originals"][11]).all()
    assert (info.rows[0][1:-1] == 255).all()
    assert (info.rows[1] == arrays["interpolations"][3]).all()
    assert len(info.rows) == 1 + len(representatives(toy, "interpolations"))


def test_morphs_are_of_the_pair_of_classes_they_name(toy: StudyFrames) -> None:
    info = morphs.info(toy, pair=1)
    assert info.title == "An image of class 1 moved towards class 2"
    found = representatives(toy, "morphs")
    assert [row.tolist() for row in info.rows] == [trial.arrays["morphs"][1].tolist() for trial in found]
    assert "pair 3" in morphs.info(toy, pair=3).missing


@pytest.mark.parametrize("name", ["interpolations", "morphs"])
def test_any_pair_can_be_drawn(
    runs: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = []
    for pair in ("0", "1", "77"):
        out = tmp_path / f"{pair}.png"
        arguments = ["--study", "one", "--runs-dir", str(runs), "--pair", pair, "--out", str(out)]
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        monkeypatch.delitem(sys.modules, f"analysis.{name}", raising=False)
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"analysis.{name}", run_name="__main__")
        assert ended.value.code in (0, None)
        drawn.append(out.read_bytes())
        assert ("saved a pair 77" in capsys.readouterr().err) == (pair == "77")
    assert drawn[0] != drawn[1]


def test_a_long_history_is_plotted_in_part_and_animated_in_full(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    row = {"epoch": 1, "val/reconstruction_mse": 0.02, "val/sample_fid": 9.0}
    folder = write_trial(directory, 0, TrialConfig(), [row])
    arrays = arrays_of(TrialConfig(), 0)
    arrays["history"] = np.concatenate([arrays["history"] // shade for shade in range(1, 11)])  # no two are equal
    arrays["history_epochs"] = np.arange(1, 41)
    np.savez(folder / "attempt-1" / "arrays.npz", **arrays)
    info = reconstruction_history.info(load_study(tmp_path, "toy"))
    shown = [axes.get_ylabel() for axes in reconstruction_history.plot(info).axes]
    assert len(shown) == 11
    assert (shown[0], shown[1], shown[-1]) == ("data", "epoch 1", "epoch 40")
    assert "10 epochs from 1 to 40" in info.caption
    with Image.open(save_animation(info, tmp_path / "history.gif")) as animation:
        assert animation.n_frames == 40  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["--format", "svg", "--out", "x"], "x.svg"),
        (["--format", "gif", "--out", "x"], "x.gif"),
        (["--out", "x.GIF"], "x.GIF"),
        (["--out", "x.PDF"], "x.PDF"),
    ],
)
def test_the_history_takes_every_format(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_status(reconstruction_history.history, ["--study", "one", "--runs-dir", str(runs), *arguments]) == 0
    magic = {"svg": b"<?xml", "gif": b"GIF8", "pdf": b"%PDF"}[file.partition(".")[2].lower()]
    assert (tmp_path / file).read_bytes().startswith(magic)


def test_latent_sizes_are_grouped_without_loss() -> None:
    sizes = np.array([2.0, 4, 8, 16, 32, 64, 2])
    groups = latent_groups(sizes)
    assert np.sum([members for _, members in groups], axis=0).tolist() == [1] * 7
    assert [label for label, _ in groups] == ["d = 2 to 4", "d = 8 to 16", "d = 32", "d = 64"]
    assert latent_groups(np.array([NAN])) == []


def test_methods_of_a_studys_own_have_the_looks_that_they_declare(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    path = directory / "study.json"
    styles = {"Mine": ["#123456", "X"], "Odd": ["no colour", "X"]}
    own = {"kind": "regularizer", "name": "mine", "methods": {"deterministic": "Mine"}, "styles": styles}
    path.write_text(json.dumps({**json.loads(path.read_text()), "components": [own]}))
    row = {"epoch": 1, "val/reconstruction_mse": 0.01, "val/sample_fid": 9.0}
    config = TrialConfig(regularizer="mine", weight=1.0)
    folder = write_trial(directory, 0, config, [row])
    record = json.loads((folder / "trial.json").read_text())
    record["params"]["method"] = "Mine"
    (folder / "trial.json").write_text(json.dumps(record))
    frames = load_study(tmp_path, "toy")
    spare = method_style("Mine")
    with of_study(frames):
        assert method_style("Mine") == ("#123456", "X") != spare
        assert method_style("Odd")[0] != "no colour" and method_style("AE") == ("#000000", "o")
    assert method_style("Mine") == spare
    with of_study(frames):
        drawn = save(tradeoff.plot(tradeoff.info(frames)), tmp_path / "tradeoff.svg")
    assert "#123456" in drawn.read_text()


def test_small_rules_of_style() -> None:
    assert list(map(number, (0.01367, 28.14, 349.2, 12345.0, NAN))) == ["0.0137", "28.1", "349", "12,345", "n/a"]
    assert use_log(np.array([1.0, 10.0, NAN]))
    assert not use_log(np.array([0.0, 10.0]))
    assert not use_log(np.array([NAN]))
    assert worth_showing(np.array([7.0, 115.0]), 2.8)
    assert not worth_showing(np.array([1.0, 30.0]), 0.1)
    with pytest.raises(UserError, match="choose from png, svg, pdf"):
        save(Figure(), Path("x.gif"))


def test_the_room_imports_no_heavy_package() -> None:
    heavy = {"torch", "ray", "mlflow", "optuna"}
    code = f"import sys, analysis.reporting.figures, analysis.report; print(sorted({heavy} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"
