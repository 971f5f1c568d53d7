from __future__ import annotations

import dataclasses
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from analysis import replicates
from analysis.replicates import describe, holm, welch
from analysis.reporting import ending
from study.config import TrialConfig
from study.results.choice import choose
from study.results.frame import join_studies, load_study
from tests.helpers_study import make_study, write_trial

SEARCH = {0: (0.010, 100.0), 1: (0.015, 20.0), 2: (0.020, 18.0), 3: (0.030, 19.0)}  # 3 is not on the front
COPIES = {
    2: [(0.0205, 21.0), (0.0210, 19.5), (0.0190, 22.0)],
    0: [(0.0100, 104.0), (0.0104, 109.0), (0.0102, 98.0)],
    1: [(0.0150, 24.0), (0.0160, 22.0), (0.0155, 25.0)],
}


def row(point: tuple[float, float]) -> list[dict[str, float]]:
    return [{"epoch": 1, "val/reconstruction_mse": point[0], "val/sample_fid": point[1], "train/weight": 0.05}]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    directory = make_study(tmp_path, trials=0)
    config = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.05)
    for number, point in SEARCH.items():
        write_trial(directory, number, config, row(point))
    copies = [(of, seed, point) for of, points in COPIES.items() for seed, point in enumerate(points, start=1)]
    for number, (of, seed, point) in enumerate(copies, start=4):
        write_trial(directory, number, config.replace(seed=seed), row(point), origin="replicate", replicate_of=of)
    return tmp_path


def test_means_and_intervals_are_students_over_the_replicates_alone(runs: Path) -> None:
    info = replicates.info(load_study(runs, "toy"))
    assert info.trial.tolist() == ["0", "1", "2"]
    assert info.search.tolist() == [list(SEARCH[number]) for number in (0, 1, 2)]
    assert info.seeds == [[1, 2, 3]] * 3
    assert (info.recommended, info.on_front.tolist()) == (1, [True, True, True])
    for index, number in enumerate((0, 1, 2)):
        values = np.array(COPIES[number])
        assert info.mean[index] == pytest.approx(values.mean(axis=0))
        for objective in (0, 1):
            sample = values[:, objective]
            confidence = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
            within = (confidence.low, confidence.high)
            found = (info.low[index, objective], info.high[index, objective])
            if info.objectives[objective] == "val/reconstruction_mse":
                assert found == pytest.approx(within)
            else:  # the networks' spread of 3 % is added
                half = np.hypot(within[1] - sample.mean(), 1.959964 * 0.03 * sample.mean())
                assert found == pytest.approx((sample.mean() - half, sample.mean() + half))


def test_intervals_hold_what_replicates_share_as_often_as_they_say() -> None:
    """2,000 trials of true score 100, 4 replicates each, scored by networks that differ by 3 %."""
    generator = np.random.default_rng(1)
    network = 100 * (1 + 0.03 * generator.standard_normal((2_000, 1, 1)))
    values = list(network + 2 * generator.standard_normal((2_000, 4, 1)))
    _, low, high = replicates._intervals(values, np.array([0.03]))
    assert 0.94 <= ((low < 100) & (high > 100)).mean() <= 0.99
    _, low, high = replicates._intervals(values, np.zeros(1))
    assert ((low < 100) & (high > 100)).mean() < 0.7  # what they would hold without


def test_equal_trials_under_other_networks_seldom_differ_significantly() -> None:
    generator = np.random.default_rng(2)
    apart = []
    for _ in range(300):
        network = 1 + 0.03 * generator.standard_normal((2, 1, 1))
        apart.append(
            (welch(list(10 * network + 0.1 * generator.standard_normal((2, 4, 1))), np.array([0.03])) < 0.05).any()
        )
    assert np.mean(apart) < 0.08


def test_trials_that_differ_by_more_than_networks_do_are_found_with_few_replicates() -> None:
    """Two replicates, seeds differ by 1 %, networks by 3 %, the trials by 20 %: nearly five standard deviations."""
    generator = np.random.default_rng(3)
    apart = []
    for _ in range(200):
        network = 1 + 0.03 * generator.standard_normal((2, 1, 1))
        true = np.array([10.0, 12.0])[:, None, None] * network
        apart.append(
            (welch(list(true * (1 + 0.01 * generator.standard_normal((2, 2, 1)))), np.array([0.03])) < 0.05).any()
        )
    assert np.mean(apart) > 0.9


def test_p_values_are_welchs_with_holms_correction(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicates, "network_noise", lambda frames, names: np.zeros(len(names)))
    info = replicates.info(load_study(runs, "toy"))
    pairs = list(itertools.combinations(range(3), 2))
    tests: list[Any] = [stats.ttest_ind(info.values[a], info.values[b], equal_var=False) for a, b in pairs]
    raw = np.array([test.pvalue for test in tests])
    adjusted = np.array([info.p[a, b] for a, b in pairs])
    order = np.argsort(raw.ravel())
    expected, largest = np.empty(6), 0.0
    for step, index in enumerate(order):
        largest = max(largest, min(1.0, (6 - step) * raw.ravel()[index]))
        expected[index] = largest
    assert adjusted.ravel() == pytest.approx(expected)
    assert info.apart.tolist() == [[False, True, True], [True, False, True], [True, True, False]]
    assert (np.isnan(info.p) == np.eye(3, dtype=bool)[..., None]).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_closed_test_of_bonferroni(values: list[float]) -> None:
    """By definition: a hypothesis is rejected if every intersection with it is rejected by Bonferroni's test."""
    p = np.array(values)
    for index in range(len(p)):
        others = [other for other in range(len(p)) if other != index]
        subsets = itertools.chain.from_iterable(itertools.combinations(others, size) for size in range(len(p)))
        closed = max(min((1 + len(subset)) * min(p[[index, *subset]]), 1) for subset in subsets)
        assert holm(p)[index] == pytest.approx(closed)


def test_groups_without_spread_or_with_one_member() -> None:
    same, other, single = np.full((3, 1), 2.0), np.full((3, 1), 5.0), np.ones((1, 1))
    p = welch([same, other, same.copy(), single], np.zeros(1))[..., 0]
    assert (p[0, 1], p[0, 2], p[1, 2]) == (0, 1, 0)
    assert np.isnan(p[3]).all()
    assert welch([], np.zeros(2)).shape == (0, 0, 2)


def test_equal_trials_seldom_differ_significantly() -> None:
    generator = np.random.default_rng(0)
    apart = [(welch(list(generator.standard_normal((5, 4, 2))), np.zeros(2)) < 0.05).any() for _ in range(300)]
    assert np.mean(apart) < 0.08  # in the whole table, not per pair


def test_invalid_replicates_are_left_out(runs: Path) -> None:
    config = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.05, seed=9)
    for number, (outcome, of) in enumerate((("failed", 0), ("stopped", 0), ("completed", 77)), start=20):
        write_trial(runs / "toy", number, config, row((9.0, 9.0)), origin="replicate", outcome=outcome, replicate_of=of)
    write_trial(runs / "toy", 23, config, row((float("nan"), 9.0)), origin="replicate", replicate_of=1)
    info = replicates.info(load_study(runs, "toy"))
    assert [len(group) for group in info.values] == [3, 3, 3]


def test_replicates_never_join_the_front(runs: Path) -> None:
    config = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.05, seed=9)
    write_trial(runs / "toy", 20, config, row((1e-4, 1e-4)), origin="replicate", replicate_of=0)
    assert choose(load_study(runs, "toy")).front.tolist() == [0, 1, 2]


def test_the_caption_shows_the_winners_curse(runs: Path) -> None:
    text = describe(replicates.info(load_study(runs, "toy")))
    assert "3 trials of the front trained again, with 3 fresh seeds each" in text
    change = np.mean([np.array(COPIES[n]).mean(axis=0) / SEARCH[n] - 1 for n in SEARCH if n in COPIES], axis=0)
    assert f"{100 * change[0]:+.1f} % in reconstruction error and {100 * change[1]:+.1f} % in sample FID" in text
    assert "3 of 3 pairs differ significantly" in text


def test_one_replicate_has_a_mean_and_no_interval(tmp_path: Path) -> None:
    make_study(tmp_path, replicates=1)
    info = replicates.info(load_study(tmp_path, "toy"))
    assert len(info.rows) == 2
    assert np.isfinite(info.mean).all() and np.isnan(info.low).all() and not info.apart.any()
    assert all("nan" not in cell and "n/a" not in cell for cells in replicates.table(info)[1] for cell in cells)
    replicates.plot(info)


def test_studies_together_keep_their_replicates_apart(tmp_path: Path) -> None:
    make_study(tmp_path, "a", trials=3, replicates=2, mixed=False)
    make_study(tmp_path, "b", trials=3, replicates=3, mixed=False, seed=1)
    info = replicates.info(join_studies([load_study(tmp_path, name) for name in "ab"]))
    counts = dict(zip(info.trial.tolist(), map(len, info.values), strict=True))
    assert counts == {"a/0": 2, "a/1": 2, "b/0": 3, "b/1": 3}


def test_the_final_table_and_the_files_have_means_beside_search_values(runs: Path) -> None:
    frames = load_study(runs, "toy")
    files = ending.draw(frames, runs / "toy")
    assert [file.name for file in files] == ["tradeoff.png", "replicates.png", "replicates.csv"]
    lines = files[-1].read_text().splitlines()
    assert len(lines) == 1 + 3 * 2
    assert lines[4].startswith("1,val/sample_fid,20,3,23.6666667,")
    console = Console(width=80, file=io.StringIO(), record=True)
    ending.show(console, frames, runs / "toy")
    text = console.export_text()
    assert "4 trials: 4 completed" in text and "9 replicates: 9 completed" in text
    half_width = replicates.info(frames).high[1, 1] - 71 / 3
    assert f"20 → 23.7 ± {half_width:.2g}" in text
    assert "With 3 fresh seeds" in text


def test_no_replicates_no_table(tmp_path: Path) -> None:
    make_study(tmp_path, trials=3)
    frames = load_study(tmp_path, "toy")
    info = replicates.info(frames)
    assert "no trial has been replicated" in info.missing
    assert [file.name for file in ending.draw(frames, tmp_path / "toy")] == ["tradeoff.png"]
    assert replicates.info(dataclasses.replace(frames, records=(frames.study.replace(objectives={}),))).rows.size == 0
