"""Which trials may be chosen, and the weights they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import weight_curves
from analysis.plotting import naming
from study.config import TrialConfig
from study.results.choice import choose, full_weight
from study.results.frame import load_study
from study.results.selection import select
from tests.helpers_study import make_study, write_trial

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
