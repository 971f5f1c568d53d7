from __future__ import annotations

import math

import pytest

from study.measure.metrics import METRICS, is_logarithmic, metric_name
from study.search.hypervolume import SETTLING, FrontVolume


def test_errors_and_frechet_distances_count_by_their_logarithm() -> None:
    logarithmic = {name for name in METRICS if is_logarithmic(f"val/{name}")}
    assert logarithmic == {name for name in METRICS if name.endswith(("_mse", "_fid"))}
    assert {METRICS[name].direction for name in logarithmic} == {"minimize"}
    assert not is_logarithmic("val/made_up_fid")


def test_metric_name_strips_the_split() -> None:
    assert [metric_name(column) for column in ("val/kl", "test/kl", "kl")] == ["kl"] * 3


def test_the_first_trials_settle_the_reference_point_whether_or_not_they_may_join() -> None:
    volume = FrontVolume({"val/sample_fid": "minimize", "val/coverage": "maximize"})
    for trial in range(SETTLING):
        assert volume.value is None
        volume.add({"val/sample_fid": 10.0 - trial, "val/coverage": 0.5}, may_join=trial == 0)
    assert volume.reference is not None
    assert volume.reference.tolist() == pytest.approx([math.log(20.0), 0.5])  # no range: 1 beyond
    assert volume.value == pytest.approx(math.log(2.0))


def test_equal_trials_join_once() -> None:
    volume = FrontVolume({"val/kl": "minimize"}, reference=[2.0])
    joined = [volume.add({"val/kl": value}, may_join=True) for value in (1.0, 1.0, 1.5, 0.5)]
    assert joined == [True, False, False, True] and volume.value == 1.5
