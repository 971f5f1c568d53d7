"""What a script or notebook gets of a study: tables, figures, models, samples, report, export."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import study
from study.config import TrialConfig, UserError
from study.results.choice import choose
from study.results.frame import load_study
from study.results.selection import select
from tests.helpers import made_summary
from tests.helpers_model import EPOCHS, made_model, write_study
from tests.helpers_study import make_study


@pytest.fixture
def toy(tmp_path: Path) -> study.Study:
    """A study with plausible numbers, and no models."""
    make_study(tmp_path / "runs", trials=24, arrays=True)
    return study.load_study(tmp_path / "runs" / "toy")


@pytest.fixture
def trained(tmp_path: Path) -> study.Study:
    """A study of three models, all on the front; the second is the knee."""
    configs = {number: TrialConfig(width=8, epochs=EPOCHS, seed=number) for number in range(3)}
    models = {number: made_model(config, made_summary()) for number, config in configs.items()}
    write_study(tmp_path / "runs" / "toy", made_summary(), models)
    return study.load_study(tmp_path / "runs" / "toy")


def test_the_tables_are_those_of_every_figure(toy: study.Study) -> None:
    frames = load_study(toy.directory.parent, "toy")
    pd.testing.assert_frame_equal(toy.trials, frames.trials)
    pd.testing.assert_frame_equal(toy.history, frames.history)
    assert (toy.name, toy.record.num_trials) == ("toy", frames.study.num_trials)
    assert repr(toy) == f"<Study {toy.directory}: 24 trials, completed>"


def test_nothing_completed_dominates_the_front(toy: study.Study) -> None:
    names = ["val/reconstruction_mse", "val/sample_fid"]
    points = toy.trials.loc[toy.trials["outcome"] == "completed", names].to_numpy()
    front = toy.front[names].to_numpy()
    assert 0 < len(front) < len(points) and (np.diff(front[:, 0]) >= 0).all()
    for point in front:
        assert not ((points <= point).all(axis=1) & (points < point).any(axis=1)).any()


def test_the_recommended_trial_is_a_row_or_none(toy: study.Study, tmp_path: Path) -> None:
    assert toy.recommended is not None
    assert toy.recommended.to_dict()["number"] == select(tmp_path / "runs", "toy", knee=True).number
    make_study(tmp_path / "runs", "empty", trials=0)
    empty = study.load_study(str(tmp_path / "runs" / "empty"))
    assert empty.recommended is None
    assert empty.front.empty and empty.trials.empty


def test_a_study_that_is_not_there_lists_those_there_are(toy: study.Study) -> None:
    with pytest.raises(UserError, match=r"no study 'nope' in .*choose from toy"):
        study.load_study(toy.directory.parent / "nope")


def test_a_figure_shows_itself_and_leaves_matplotlib_as_it_was(toy: study.Study) -> None:
    before = dict(matplotlib.rcParams)
    figure = toy.figure("tradeoff")
    picture = figure._repr_png_()  # type: ignore[attr-defined]
    assert dict(matplotlib.rcParams) == before and picture.startswith(b"\x89PNG")
    with matplotlib.rc_context({"xtick.labelsize": 30, "grid.color": "red", "figure.dpi": 40}):
        assert toy.figure("tradeoff")._repr_png_() == picture  # type: ignore[attr-defined]


def test_the_axes_of_a_figure_may_be_other_metrics(toy: study.Study) -> None:
    axes = toy.figure(y="reconstruction_mse", x="val/sample_fid").axes[0]
    given = toy.figure().axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (given.get_ylabel(), given.get_xlabel()) != ("", "")
    assert list(toy.record.objectives) == ["val/reconstruction_mse", "val/sample_fid"]  # as they were


def test_an_option_of_a_figure_reaches_it(toy: study.Study) -> None:
    first, second = (toy.figure("interpolations", pair=pair)._repr_png_() for pair in (0, 1))  # type: ignore[attr-defined]
    assert first != second


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nope", {}, "no figure 'nope': choose from tradeoff, priors"),
        ("tradeoff", {"pair": 1}, "figure tradeoff: no option pair: choose from x, y"),
        ("interpolations", {"pear": 1}, "figure interpolations: no option pear: choose from x, y, pair"),
        ("tradeoff", {"y": "nope"}, "no metric 'nope': choose from reconstruction_mse"),
        ("tradeoff", {"y": "train/sample_fid"}, "no metric 'train/sample_fid'"),
    ],
)
def test_a_figure_that_cannot_be_says_what_there_is(toy: study.Study, name, options, message: str) -> None:
    with pytest.raises(UserError, match=message):
        toy.figure(name, **options)


def test_models_are_chosen_by_number_or_pick(trained: study.Study) -> None:
    knee = choose(trained.frames).recommended
    assert knee is not None and trained.recommended is not None
    by_number = trained.model(trained.recommended.to_dict()["number"])
    codes = torch.randn(3, by_number.latent_dim, generator=torch.Generator().manual_seed(0))
    assert torch.equal(trained.model("knee").decode(codes), by_number.decode(codes))
    other = trained.model("nearly_best:reconstruction_mse")
    chosen = select(trained.directory.parent, "toy", nearly_best="reconstruction_mse").number
    assert torch.equal(other.decode(codes), trained.model(chosen).decode(codes)) and chosen != knee
    with pytest.raises(UserError, match="trial='best': give a trial's number, 'knee', or one of 'nearly_best:recon"):
        trained.model("best")
    with pytest.raises(UserError, match="no such trial"):
        trained.model(7)


def test_a_picture_of_samples_holds_what_the_model_draws(trained: study.Study) -> None:
    picture = trained.sample(4, seed=3, prior="normal")
    assert isinstance(picture, Image.Image)
    images = trained.model().sample(4, torch.Generator().manual_seed(3), prior="normal")
    factor, gap = 8, 2  # an 8 × 8 image is shown at 64 pixels
    pixels = np.asarray(picture.convert("L"))[gap : gap + 64 : factor, gap : gap + 64 : factor]
    assert np.abs(pixels / 255 - images[0, 0].numpy()).max() <= 0.5 / 255 + 1e-6
    assert trained.sample(4, seed=4).tobytes() != trained.sample(4, seed=3).tobytes()
    with pytest.raises(UserError, match="draw at least one"):
        trained.sample(0)
    with pytest.raises(UserError, match="choose from normal, fitted"):
        trained.sample(1, prior="nope")


def test_the_report_and_the_exported_model_are_written(trained: study.Study, tmp_path: Path) -> None:
    page = trained.report(tmp_path / "page")
    assert page == tmp_path / "page" / "report.html" and "toy" in page.read_text()
    folder = trained.export(tmp_path / "model", trial=2)
    spec = importlib.util.spec_from_file_location("exported_by_the_test", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    codes = torch.zeros(1, trained.model(2).latent_dim)
    assert torch.equal(module.load().decode(codes), trained.model(2).decode(codes))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="out="):
        trained.export(tmp_path / "file" / "model")
