from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import replicates
from analysis.explorer.data import MOST_POINTS, explorer
from analysis.plotting import naming
from study.config import EXTRA_ORIGINS
from study.results.choice import choose, with_fitted_prior
from study.results.frame import StudyFrames, join_studies, load_study
from tests.helpers_study import make_study


def read(frames: StudyFrames, **options: Any) -> dict[str, Any]:
    return json.loads(explorer(frames, {}, **options))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    runs = tmp_path_factory.mktemp("explored")
    make_study(runs, arrays=True, replicates=3)
    return load_study(runs, "toy")


def test_every_trial_has_its_values(frames: StudyFrames) -> None:
    data = read(frames)
    names = [metric["name"] for metric in data["metrics"]]
    assert names[:2] == [data["x"], data["y"]] == list(frames.objectives)
    assert len(names) == len(set(names))
    assert [trial["label"] for trial in data["trials"]] == frames.labels().tolist()
    for name in ("val/sample_fid", "test/reconstruction_mse", "latent_dim"):
        column, index = frames.column(name), names.index(name)
        shown = np.array(
            [np.nan if trial["values"][index] is None else trial["values"][index] for trial in data["trials"]]
        )
        assert shown == pytest.approx(column, rel=1e-4, nan_ok=True)


def test_it_marks_what_the_summary_recommends(frames: StudyFrames) -> None:
    choice, trials = choose(frames), read(frames)["trials"]
    assert [trial["eligible"] for trial in trials] == choice.eligible.tolist()
    fitted = with_fitted_prior(frames)
    assert fitted is not None
    for end, recommended in (
        (", recommended", choice.recommended),
        ("with the fitted prior", choose(fitted).recommended),
    ):
        roles = [[role for role in trial["roles"] if "recommended" in role and role.endswith(end)] for trial in trials]
        assert [row for row, role in enumerate(roles) if role] == [recommended]
    assert {row for row, trial in enumerate(trials) if trial["out"]["normal"]} == {out.row for out in choice.left_out}
    extra = [trial["extra"] for trial in trials]
    assert extra == np.isin(frames.text("origin"), EXTRA_ORIGINS).tolist()


def test_a_study_of_the_fitted_prior_leaves_out_what_its_summary_does(tmp_path: Path) -> None:
    make_study(tmp_path, objectives={"val/reconstruction_mse": "minimize", "val/fitted_fid": "minimize"})
    frames = load_study(tmp_path, "toy")
    row = int(np.flatnonzero(choose(frames).eligible)[0])
    frames.trials.loc[row, "val/fitted_copies"] = 0.9
    assert row in {out.row for out in choose(frames).left_out}
    [told] = [trial["out"] for index, trial in enumerate(read(frames)["trials"]) if index == row]
    assert told == {"fitted": "90 % of them are unusually near to a training image"}


def test_only_trained_trials_of_a_known_folder_can_be_exported(frames: StudyFrames, tmp_path: Path) -> None:
    assert not any(trial["command"] for trial in read(frames)["trials"])
    trials = read(frames, runs=tmp_path)["trials"]
    assert [bool(trial["command"]) for trial in trials] == (frames.text("outcome") == "completed").tolist()


def test_intervals_are_those_of_the_replicates(frames: StudyFrames) -> None:
    found, trials = replicates.info(frames), read(frames)["trials"]
    assert found.rows.size
    for index, row in enumerate(found.rows):
        mean, low, high, count = trials[row]["intervals"][found.objectives[0]]
        assert (mean, low, high) == pytest.approx(
            (found.mean[index, 0], found.low[index, 0], found.high[index, 0]), 1e-4
        )
        assert count == 3
    assert sum(bool(trial["intervals"]) for trial in trials) == found.rows.size


def test_axes_know_what_is_better(frames: StudyFrames) -> None:
    metrics = {metric["name"]: metric for metric in read(frames)["metrics"]}
    assert metrics["val/sample_fid"]["direction"] == "minimize"
    assert metrics["latent_dim"]["direction"] == "none"
    assert metrics["val/sample_fid"]["prior"] == "normal"
    assert metrics["val/sample_fid"]["real"] == pytest.approx(frames.real_data("val/sample_fid"), 1e-4)


def test_curves_end_with_the_last_epoch(tmp_path: Path) -> None:
    make_study(tmp_path, epochs=400, trials=2, mixed=False)
    frames = load_study(tmp_path, "toy")
    for row, trial in enumerate(read(frames)["trials"]):
        for name, (epochs, values) in zip(frames.objectives, trial["curves"], strict=True):
            assert len(epochs) == len(values) <= MOST_POINTS
            assert (epochs[-1], values[-1]) == pytest.approx([part[-1] for part in frames.curve(row, name)], 1e-4)


def test_the_commands_name_the_trial_and_its_folder(frames: StudyFrames, tmp_path: Path) -> None:
    first = read(frames, runs=tmp_path / "with space")["trials"][3]
    words = shlex.split(first["command"])
    assert words[:3] == ["python", "-m", "study.export"]
    assert dict(zip(words[3::2], words[4::2], strict=True)) == {
        "--study": "toy", "--trial": "3", "--out": "model-3", "--runs-dir": str(tmp_path / "with space"),
    }  # fmt: skip
    assert "--runs-dir" not in read(frames, runs=Path("runs"))["trials"][3]["command"]


def test_several_studies_keep_their_names(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_study(tmp_path, name, trials=3, mixed=False)
    data = read(join_studies(load_study(tmp_path, name) for name in ("one", "two")), runs=tmp_path)
    assert [trial["label"] for trial in data["trials"]][:4] == ["one/0", "one/1", "one/2", "two/0"]
    assert "--study two --trial 0 " in data["trials"][3]["command"]


def test_parallel_coordinates_place_only_eligible_trials(frames: StudyFrames) -> None:
    eligible = choose(frames).eligible
    axes = read(frames)["parallel"]
    assert {"method", *frames.objectives} <= {axis["name"] for axis in axes}
    for axis in axes:
        assert [place is not None for place in axis["places"]] == eligible.tolist()


def test_names_cannot_end_the_script(tmp_path: Path) -> None:
    make_study(tmp_path, trials=2, mixed=False)
    frames = load_study(tmp_path, "toy")
    frames.trials["method"] = "</script><b>"
    text = explorer(frames, {})
    assert "<" not in text
    assert json.loads(text)["trials"][0]["method"] == "</script><b>"


@pytest.mark.parametrize("trials", [0, 1])
def test_small_studies(tmp_path: Path, trials: int) -> None:
    make_study(tmp_path, trials=trials, mixed=False)
    text = explorer(load_study(tmp_path, "toy"), {})
    assert bool(text) == bool(trials)


def test_one_objective_is_drawn_against_the_latent_size(tmp_path: Path) -> None:
    make_study(tmp_path, trials=4, mixed=False, objectives={"val/sample_fid": "minimize"})
    data = read(load_study(tmp_path, "toy"))
    assert (data["x"], data["y"]) == ("latent_dim", "val/sample_fid")
    assert naming.label("latent_dim") in [metric["label"] for metric in data["metrics"]]
