"""Which trials may be chosen, and the weights they have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from analysis import weight_curves
from analysis.explorer.data import explorer
from analysis.plotting import naming
from analysis.reporting.ending import show
from analysis.reporting.page import render
from analysis.reporting.summary import summarise
from study.config import FEW_IMAGES, TrialConfig, UserError
from study.results.choice import choose, full_weight, too_little_data
from study.results.frame import load_study
from study.results.selection import select
from study.status import lines, read_status
from tests.helpers_study import make_study, study_record, write_trial

VAE = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.5, epochs=1)


def _row(mse: float, fid: float, weight: float) -> dict[str, float]:
    return {"epoch": 1, "val/reconstruction_mse": mse, "val/sample_fid": fid, "train/weight": weight}


def test_a_trial_that_requested_an_error_has_the_weight_it_came_to(tmp_path: Path) -> None:
    """A tenth of the first weight is a tenth too little for a ramp, but not for a weight that was adapted."""
    directory = make_study(tmp_path, trials=0)
    write_trial(directory, 0, VAE, [_row(0.01, 4.0, 0.5)])
    write_trial(directory, 1, VAE, [_row(0.009, 5.0, 0.05)])
    write_trial(directory, 2, VAE.replace(target_error=0.02), [_row(0.02, 3.0, 0.05)])
    frames = load_study(tmp_path, "toy")
    assert full_weight(frames).tolist() == [0.5, 0.5, 0.05]
    assert choose(frames).eligible.tolist() == [True, False, True]
    assert weight_curves.info(frames).weight.tolist() == [0.5, 0.05]
    assert naming.configuration(frames, 2).endswith("w=0.05")
    assert "weight 0.5" in select(tmp_path, "toy", trial=0).describe()
    assert "target_error 0.02" in select(tmp_path, "toy", trial=2).describe()


@pytest.mark.parametrize("ramp", [0.0, 0.4, 1.0])
def test_only_a_full_weight_makes_a_trial_eligible(tmp_path: Path, ramp: float) -> None:
    directory = make_study(tmp_path, trials=0)
    write_trial(directory, 0, VAE, [_row(0.01, 4.0, 0.5 * ramp)])
    assert choose(load_study(tmp_path, "toy")).eligible.tolist() == [ramp == 1]


@pytest.mark.parametrize("held_out", [FEW_IMAGES - 1, FEW_IMAGES])
def test_faults_met_too_little_data_have_a_front_and_no_recommendation(
    tmp_path: Path, held_out: int, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "folder:x: only 49 images to measure with: trust no score of samples"
    data = {**study_record()["data"], "test_size": held_out}
    directory = make_study(tmp_path, data=data, references={"notes": [note]}, mixed=False, trials=8)
    frames = load_study(tmp_path, "toy")
    choice = choose(frames)
    show(Console(width=200), frames, directory)
    printed = " ".join(capsys.readouterr().out.split())
    assert choice.front.size and "Pareto-optimal trials" in printed
    sentences = summarise(frames).sentences
    page = " ".join(render(frames, [], [], {}).split())
    assert note in page
    if held_out == FEW_IMAGES:
        assert choice.recommended is not None and not too_little_data(frames)
        assert "recommended" in printed and sentences[0].startswith("Take trial")
        return
    assert choice.picks == () and choice.recommended is None
    expected = (
        "Too little data to say anything: 49 images to measure with, 50 are the least. So there is no recommendation."
    )
    assert sentences == [expected] and expected in printed and expected in page
    assert "▸" not in printed and "Take trial" not in page and "knee" not in printed
    with pytest.raises(UserError, match=r"Too little data .* Choose a trial with --trial or --max-mse"):
        select(tmp_path, "toy")
    assert select(tmp_path, "toy", max_mse=1.0).number in choice.front


@pytest.mark.parametrize("share", [0.96, 0.94])
@pytest.mark.parametrize("measured", [True, False])
def test_no_trial_is_recommended_while_none_beats_the_mean_image(
    tmp_path: Path, share: float, measured: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Studies that did not measure the mean image's error keep their recommendation."""
    error = 0.08
    evaluation = {"pca": {"validation": {"0": error, "1": 0.05} if measured else {"1": 0.05}}}
    directory = make_study(tmp_path, trials=0, references=evaluation)
    for number, (fid, worse) in enumerate([(9.0, 1.0), (4.0, 1.02), (3.0, 1.03)]):
        write_trial(directory, number, VAE.replace(epochs=20), [_row(share * worse * error, fid, 0.5)])
    stopped = _row(0.1 * error, 1.0, 0.5)  # it has learned something, but nobody can take it
    write_trial(directory, 3, VAE, [stopped], outcome="stopped")
    frames = load_study(tmp_path, "toy")
    choice, printed = choose(frames), "\n".join(lines(read_status(tmp_path, "toy"), "toy"))
    assert choice.front.tolist() == [0, 1, 2]
    if share < 0.95 or not measured:
        assert choice.recommended is not None and not choice.caution and "caution" not in printed
        return
    assert choice.recommended is None and choice.picks == ()
    assert choice.caution.startswith("No completed trial of the search beats the mean image")
    assert "keeps 96 % of its error" in choice.caution
    assert "more epochs (--epochs above 20)" in choice.caution
    assert summarise(frames).sentences == [choice.caution] and choice.caution in printed
    show(Console(width=200), frames, directory)
    assert choice.caution in " ".join(capsys.readouterr().out.split())
    page = " ".join(render(frames, [], [], {}).split())
    assert choice.caution in page and "Take trial" not in page
    assert json.loads(explorer(frames, {}).replace("\\u003c", "<"))["caution"] == choice.caution
    with pytest.raises(UserError, match=r"beats the mean image.* Choose a trial with --trial or --max-mse"):
        select(tmp_path, "toy")
