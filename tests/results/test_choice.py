"""Which trials may be chosen, and the weights they have."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from analysis import weight_curves
from analysis.plotting import naming
from analysis.reporting.ending import show
from analysis.reporting.page import render
from analysis.reporting.summary import summarise
from study.config import FEW_IMAGES, TrialConfig, UserError
from study.results.choice import choose, full_weight, too_little_data
from study.results.frame import load_study
from study.results.selection import select
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
