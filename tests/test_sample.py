"""Choosing a trial and its checkpoint, and the picture of its samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from study.cli import command_status
from study.config import TrialConfig, UserError
from study.data.datasets import ImageData
from study.exporting.trained import load_model
from study.measure.pictures import grid, write_pictures
from study.results.choice import choose
from study.results.frame import load_study
from study.results.selection import select
from study.sample import sample
from study.training import checkpoint
from study.training.loop import train
from tests.helpers import made_summary
from tests.helpers_model import EPOCHS, made_model, weights_of, write_study
from tests.helpers_study import make_study


def study_sample(*arguments: object) -> int:
    return command_status(sample, [str(argument) for argument in arguments])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder with a study `toy` of two trials."""
    models = {number: made_model(TrialConfig(width=8, epochs=EPOCHS, seed=number), made_summary()) for number in (0, 1)}
    write_study(tmp_path / "runs" / "toy", made_summary(), models)
    return tmp_path / "runs"


def test_the_knee_is_chosen_by_default_and_a_trial_by_its_number(tmp_path: Path) -> None:
    make_study(tmp_path)
    frames = load_study(tmp_path, "toy")
    knee = choose(frames).recommended
    assert knee is not None
    expected = frames.trials.iloc[knee]
    for chosen in (select(tmp_path, "toy"), select(tmp_path, "toy", knee=True)):
        assert chosen.number == expected["number"]
        assert chosen.config.to_params()["weight"] == expected["weight"]
        assert chosen.metrics["val/sample_fid"] == expected["val/sample_fid"]
    assert select(tmp_path, "toy", trial=0).number == 0


def test_the_other_two_picks_are_chosen_by_their_objective(tmp_path: Path) -> None:
    make_study(tmp_path)
    frames = load_study(tmp_path, "toy")
    for pick in choose(frames).picks[1:]:
        assert pick.objective is not None
        name = list(frames.objectives)[pick.objective]
        for spelling in (name, name.removeprefix("val/")):
            assert select(tmp_path, "toy", nearly_best=spelling).number == frames.column("number")[pick.row]


def test_a_bound_on_the_error_gives_the_best_samples_within_it(tmp_path: Path) -> None:
    make_study(tmp_path, trials=40)
    frames = load_study(tmp_path, "toy")
    done = choose(frames).eligible
    errors, fids = frames.column("val/reconstruction_mse"), frames.column("val/sample_fid")
    for bound in (0.012, 0.02, 0.05, 1.0):
        best = int(np.argmin(np.where(done & (errors <= bound), fids, np.inf)))
        assert select(tmp_path, "toy", max_mse=bound).number == frames.column("number")[best]
    with pytest.raises(UserError, match="no trial is that good, the smallest"):
        select(tmp_path, "toy", max_mse=1e-6)


def test_what_cannot_be_chosen_is_said_in_one_line(tmp_path: Path) -> None:
    make_study(tmp_path)
    make_study(tmp_path, "empty", trials=0)
    for name, wish, words in [
        ("nope", {}, "choose from empty, toy"),
        ("empty", {}, "no trial was trained to its end"),
        ("empty", {"trial": 0}, "there is none yet"),
        ("toy", {"trial": 24}, "choose from 0 to 23"),
        ("toy", {"nearly_best": "kl"}, "choose from reconstruction_mse, sample_fid"),
        ("toy", {"trial": 1, "max_mse": 0.1}, "one of --trial, --knee, --nearly-best and --max-mse"),
    ]:
        with pytest.raises(UserError, match=words):
            select(tmp_path, name, **wish)
    with pytest.raises(UserError, match="trial 9 is failed"):
        load_model(select(tmp_path, "toy", trial=9))
    with pytest.raises(UserError, match="last checkpoint of trial 1 cannot be read"):
        load_model(select(tmp_path, "toy", trial=1))


def test_the_newest_attempts_last_checkpoint_is_taken_and_no_other(runs: Path) -> None:
    selection = select(runs, "toy", trial=1)
    config, weights = selection.config, weights_of(load_model(selection))
    doubled = {name: 2 * tensor for name, tensor in weights.items()}
    attempt = selection.trial_directory / "attempt-2"
    attempt.mkdir()
    path = checkpoint.save(attempt, EPOCHS, {"config": config.to_params(), "epoch": EPOCHS, "model": doubled})
    for name, tensor in weights_of(load_model(selection)).items():
        assert torch.equal(tensor, doubled[name])

    path.write_bytes(path.read_bytes()[:-1])  # damaged: the first attempt's, as good, takes its place
    assert all(torch.equal(tensor, weights[name]) for name, tensor in weights_of(load_model(selection)).items())

    first = selection.trial_directory / "attempt-1"
    (first / f"checkpoint-{EPOCHS:06d}.pt").unlink()
    checkpoint.save(first, 1, {"config": config.to_params(), "epoch": 1, "model": weights})  # an earlier epoch's is not
    with pytest.raises(UserError, match=r"cannot be read .*checksum"):
        load_model(selection)


def test_a_trained_model_comes_back_bit_for_bit(few_digits: ImageData, tmp_path: Path) -> None:
    config = TrialConfig(network="deep", encoder="gaussian", likelihood="gaussian_scalar", width=4, epochs=EPOCHS)
    *_, last = train(config, few_digits, evaluate=lambda model: {})
    directory = write_study(tmp_path / "toy", few_digits.summary, {0: last.model})
    checkpoint.save(directory / "trials" / "0000" / "attempt-1", EPOCHS, last.trainer.state())
    model, x = load_model(select(tmp_path, "toy")), few_digits.test.images[:20].float() / 255
    assert torch.equal(model.reconstruct(x), last.model.eval().reconstruct(x))


def test_a_checkpoint_of_another_configuration_is_refused(runs: Path) -> None:
    path = runs / "toy" / "trials" / "0001" / "trial.json"
    record = json.loads(path.read_text())
    record["params"]["weight"] = 3.0
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="another configuration"):
        load_model(select(runs, "toy", trial=1))


def test_the_picture_is_the_one_the_trial_left(runs: Path, few_digits: ImageData, tmp_path: Path) -> None:
    model = load_model(select(runs, "toy", trial=0))
    write_pictures(model, few_digits, tmp_path, model.prior)
    arguments = ["--study", "toy", "--trial", 0, "--n", 49, "--seed", 49, "--runs-dir", runs]
    for prior, left in (("normal", "samples.png"), ("fitted", "fitted_samples.png")):
        assert study_sample(*arguments, "--prior", prior, "--out", tmp_path / "new" / "grid.png") == 0
        with Image.open(tmp_path / "new" / "grid.png") as found, Image.open(tmp_path / "images" / left) as expected:
            assert np.array_equal(np.asarray(found), np.asarray(expected))


def test_draws_are_the_models_own(runs: Path, tmp_path: Path) -> None:
    model = load_model(select(runs, "toy", trial=1))
    arguments = ["--study", "toy", "--trial", 1, "--n", 5, "--seed", 7, "--runs-dir", runs, "--draws"]
    assert study_sample(*arguments, "--out", tmp_path / "draws.png") == 0
    images = model.sample(5, torch.Generator().manual_seed(7), draw=True)
    expected = grid((images * 255).round().to(torch.uint8).numpy(), 3)
    with Image.open(tmp_path / "draws.png") as found:
        assert np.array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--out", "grid.xyz"], ".xyz"),
        (["--n", "0"], "--n"),
        (["--trial", "7"], "0 to 1"),
        (["--out", "file/x.png"], "--out"),
    ],
)
def test_bad_usage_is_one_line(
    runs: Path, capsys, monkeypatch, tmp_path: Path, arguments: list[str], word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert study_sample("--study", "toy", "--runs-dir", runs, *arguments) == 2
    captured = capsys.readouterr().err.strip()
    assert len(captured.splitlines()) == 1 and word in captured


def test_codes_come_from_the_prior_that_the_method_is_made_for_unless_one_is_named(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = {}
    for prior in ("", "normal", "fitted"):
        out = tmp_path / f"from-{prior}.png"
        named = ["--prior", prior] if prior else []
        assert study_sample("--study", "toy", "--trial", 0, "--n", 9, "--out", out, "--runs-dir", runs, *named) == 0
        source = "N(0, I)" if prior == "normal" else "the fitted prior"
        assert f"codes from {source}\n" in capsys.readouterr().out
        written[prior] = out.read_bytes()
    assert written[""] == written["fitted"] != written["normal"]  # a plain AE
    model = load_model(select(runs, "toy", trial=0))
    model.prior = None
    with pytest.raises(UserError, match="no prior was fitted to this model's codes"):
        model.sample(1, prior="fitted")
    with pytest.raises(UserError, match="choose from normal, fitted"):
        model.sample(1, prior="gaussian")
