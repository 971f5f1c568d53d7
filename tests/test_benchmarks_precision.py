"""The evidence for a default precision: what is told apart, and what is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.precision import REFERENCE, compared, configurations, front_sizes, rows_of
from study.config import TrialConfig
from tests.helpers import made_summary


def test_a_difference_beyond_the_seeds_is_told_apart_and_one_within_them_is_not() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 6)) * 0.02
    found = compared({"same": (noise[0], noise[1]), "apart": (noise[0], noise[1] + math.log(2))})
    same, apart = found
    assert same.p > 0.05 and same.low < 1 < same.high
    assert apart.p < 0.05 and 1 < apart.low < 2 < apart.high
    assert [row.ok for row in rows_of(found) if row.bar is not None] == [True, False]


def test_ratio_interval_and_p_are_welchs() -> None:
    exact, low = np.array([0.0, 0.1, 0.3, 0.2, 0.15]), np.array([0.5, 0.1, 0.9, 0.2, 0.4])
    variances = np.array([exact.var(ddof=1), low.var(ddof=1)]) / 5
    error = math.sqrt(variances.sum())
    freedom = variances.sum() ** 2 / (variances**2 / 4).sum()
    difference = low.mean() - exact.mean()
    p = 2 * stats.t.sf(abs(difference) / error, freedom)
    reach = stats.t.ppf(0.975, freedom) * error
    wanted = [*np.exp([difference, difference - reach, difference + reach]), p]
    assert compared({"x": (exact, low)})[0][1:] == pytest.approx(wanted)
    both = compared({"x": (exact, low), "y": (exact, low)})
    assert [row.p for row in both] == pytest.approx([2 * p, 2 * p])  # Holm


def test_each_seed_has_a_front_of_its_own() -> None:
    below = np.array([[[1.0, 2.0], [1.0, 1.0]], [[2.0, 1.0], [1.0, 1.0]]])  # [configurations, seeds, objectives]
    assert np.exp(front_sizes(REFERENCE - below)).tolist() == pytest.approx([3.0, 1.0])


def test_a_front_has_each_method_once_per_weight() -> None:
    summary = made_summary()
    found = {
        name: TrialConfig.from_params({**summary.defaults, **params})
        for name, params in configurations(summary).items()
    }
    assert [config.method for config in found.values()] == ["AE", "VAE", "VAE", "WAE-MMD", "WAE-MMD"]
    assert all(name.startswith(config.method) for name, config in found.items())
    assert len({config.weight for config in found.values()}) == 5
