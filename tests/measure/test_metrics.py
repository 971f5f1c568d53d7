"""FID, KID and the neighbourhood metrics against closed forms, other libraries and brute force."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from study.measure.comparison import (
    Moments,
    _kth_smallest,
    copied_share,
    fid,
    frechet_distance,
    kid,
    moments,
    nearest_distances,
    neighbourhood,
)
from study.measure.metrics import METRICS, MetricError, require_finite


def features(n: int, seed: int, dim: int = 6, shift: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, dim)) * np.linspace(0.5, 2, dim) + shift


class Identity(torch.nn.Module):
    """Lets feature vectors pass as images, so that torchmetrics computes on our features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("least", [0.4, 0.0])
def test_frechet_of_commuting_gaussians_is_the_closed_form(least: float) -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    first, second = np.array([0.1, 1, 2, 5, 9.0]), np.array([3, 1, 0.5, 2, least])
    a = Moments(np.arange(5.0), rotation * first @ rotation.T)
    b = Moments(np.ones(5), rotation * second @ rotation.T)
    expected = np.square(a.mean - b.mean).sum() + np.square(np.sqrt(first) - np.sqrt(second)).sum()
    # An eigenvalue of the product is off by some eps times the largest, e. Its root is then off by e / (2 root), and
    # by the root of e if the eigenvalue is 0: digits that no processor can give back.
    products = first * second
    off = 10 * np.finfo(np.float64).eps * products.max()
    assert frechet_distance(a, b) == pytest.approx(
        expected, abs=10 * (np.sqrt(products + off) - np.sqrt(products)).sum()
    )


def test_frechet_of_general_gaussians_against_scipy() -> None:
    import scipy.linalg

    a, b = moments(features(50, 0) @ np.random.default_rng(1).standard_normal((6, 6))), moments(features(60, 2))
    product = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    expected = np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * np.real(product))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("n", "dim"), [(40, 6), (200, 3), (5, 12)])
def test_fid_against_torchmetrics(n: int, dim: int) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, generated = features(n, 0, dim), features(n + 7, 1, dim, shift=0.3)
    oracle = FrechetInceptionDistance(feature=Identity(dim)).set_dtype(torch.float64)
    oracle.update(torch.from_numpy(real), real=True)
    oracle.update(torch.from_numpy(generated), real=False)
    # With fewer vectors than dimensions the oracle takes roots of eigenvalues that are 0 but for rounding.
    assert fid(real, generated) == pytest.approx(float(oracle.compute()), rel=1e-6 if n > dim else 1e-4)


def test_fid_of_a_set_with_itself_is_zero_and_never_negative() -> None:
    real = features(500, 0)
    assert 0 <= fid(real, real) < 1e-9
    flat = np.zeros((20, 4))
    assert fid(flat, flat) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000), st.floats(0.1, 10), st.integers(2, 20))
def test_fid_is_symmetric_scales_squared_and_ignores_order(seed: int, scale: float, n: int) -> None:
    real, generated = features(n, seed), features(n + 3, seed + 1, shift=0.5)
    value = fid(real, generated)
    # Few vectors have a singular covariance: the root of a rounding error of 1e-16 is 1e-8, once per dimension.
    close = 1e-5 * float(np.trace(moments(real).covariance + moments(generated).covariance)) + 1e-9
    assert fid(generated, real) == pytest.approx(value, abs=close)
    assert fid(scale * real, scale * generated) == pytest.approx(scale**2 * value, abs=scale**2 * close)
    assert fid(real[::-1], generated[::-1]) == pytest.approx(value, abs=close)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all extracted features")
def test_kid_against_torchmetrics() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    real, generated = features(60, 0), features(60, 1, shift=0.4)
    oracle = KernelInceptionDistance(feature=Identity(6), subsets=1, subset_size=60).double()
    oracle.update(torch.from_numpy(real), real=True)
    oracle.update(torch.from_numpy(generated), real=False)
    assert kid(real, generated) == pytest.approx(float(oracle.compute()[0]), rel=1e-5)


def test_kid_in_blocks_against_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.measure.comparison._BLOCK", 7)
    a, b = features(20, 0), features(33, 1)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 6 + 1) ** 3)

    within = [
        np.mean([kernel(x, y) for i, x in enumerate(values) for j, y in enumerate(values) if i != j])
        for values in (a, b)
    ]
    across = np.mean([kernel(x, y) for x in a for y in b])
    assert kid(a, b) == pytest.approx(within[0] + within[1] - 2 * across, rel=1e-9)


def test_kid_is_unbiased_on_equal_distributions() -> None:
    values = np.array([kid(features(40, seed), features(60, seed + 10_000)) for seed in range(400)])
    standard_error = values.std(ddof=1) / math.sqrt(len(values))
    assert abs(values.mean()) < 3 * standard_error
    assert 0.3 < (values < 0).mean() < 0.8  # it is not clamped
    biased_by = np.mean([fid(features(40, seed), features(60, seed + 10_000)) for seed in range(20)])
    assert biased_by > 0.3  # FID is biased


def brute_force(real: np.ndarray, generated: np.ndarray, k: int) -> tuple[float, float, float, float]:
    def distance(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.sqrt(((x - y) ** 2).sum()))

    def reach(values: np.ndarray) -> list[float]:
        return [sorted(distance(x, y) for j, y in enumerate(values) if j != i)[k - 1] for i, x in enumerate(values)]

    real_radius, generated_radius = reach(real), reach(generated)
    inside = [[distance(x, y) < r for x, r in zip(real, real_radius, strict=True)] for y in generated]
    recalled = [any(distance(x, y) < r for y, r in zip(generated, generated_radius, strict=True)) for x in real]
    covered = [any(row[i] for row in inside) for i in range(len(real))]
    precision = np.mean([any(row) for row in inside])
    return (
        float(precision),
        float(np.mean(recalled)),
        float(np.sum(inside) / (k * len(generated))),
        float(np.mean(covered)),
    )


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("n", "m", "k"), [(30, 40, 5), (25, 12, 3)])
def test_neighbourhood_against_brute_force_and_prdc(shift: float, n: int, m: int, k: int) -> None:
    from prdc import compute_prdc

    real, generated = features(n, 0, 3), features(m, 1, 3, shift)
    ours = neighbourhood(real, generated, k)
    assert tuple(ours) == pytest.approx(brute_force(real, generated, k))
    theirs = compute_prdc(real, generated, k)
    assert ours._asdict() == pytest.approx({name: float(theirs[name]) for name in ours._fields})


def test_neighbourhood_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = features(50, 0), features(70, 1, shift=0.5)
    whole = neighbourhood(real, generated)
    monkeypatch.setattr("study.measure.comparison._BLOCK", 9)
    assert neighbourhood(real, generated) == whole


def test_neighbourhood_of_identical_and_disjoint_sets() -> None:
    real = features(200, 0)
    same = neighbourhood(real, real.copy())
    assert same.precision == same.recall == same.coverage == 1
    assert same.density == pytest.approx(1)
    assert neighbourhood(real, real + 1_000) == (0, 0, 0, 0)


def test_a_dropped_mode_costs_recall_and_not_precision() -> None:
    first, second = features(150, 0), features(150, 1, shift=50)
    real = np.concatenate([first, second])
    both = neighbourhood(real, np.concatenate([features(150, 2), features(150, 3, shift=50)]))
    dropped = neighbourhood(real, features(300, 2))
    assert both.recall > 0.85 and both.coverage > 0.85
    assert dropped.recall < 0.55 and dropped.coverage < 0.55
    assert dropped.precision > 0.85


def test_copies_do_not_count_as_neighbours_by_rounding() -> None:
    copies = np.repeat(features(3, 0) + 7.3, 20, axis=0)
    assert neighbourhood(copies, copies) == neighbourhood(copies * 3.7, copies * 3.7)


def test_metrics_of_tiny_sets() -> None:
    real, generated = features(2, 0), features(2, 1)
    assert all(math.isfinite(value) for value in (fid(real, generated), kid(real, generated)))
    assert all(math.isfinite(value) for value in neighbourhood(real, generated))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_nan_fails_by_name(broken: float) -> None:
    real, generated = features(30, 0), features(30, 1)
    generated[3, 2] = broken
    assert math.isnan(fid(real, generated))
    assert math.isnan(neighbourhood(real, generated).precision)
    with pytest.raises(MetricError, match=r"sample_fid is (nan|inf)"):
        require_finite({"reconstruction_mse": 0.1, "sample_fid": broken})
    require_finite({"reconstruction_mse": 0.1})


def test_every_metric_has_one_direction_and_a_label() -> None:
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    assert METRICS["sample_fid"].direction == METRICS["reconstruction_mse"].direction == "minimize"
    assert METRICS["recall"].direction == "maximize"


def test_the_metrics_table_needs_no_torch() -> None:
    code = "import sys, study.measure.metrics; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(0, 70), st.booleans(), st.integers(0, 100))
def test_kth_smallest_against_sorting(columns: int, k: int, ties: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, 5, (7, columns)).astype(float) if ties else generator.standard_normal((7, columns))
    k = min(k, columns - 1)
    assert np.array_equal(_kth_smallest(rows, k), np.sort(rows, axis=1)[:, k])


def test_copies_are_seen_and_new_images_are_not() -> None:
    generator = np.random.default_rng(0)
    training, held_out, new = (generator.normal(size=(400, 6)) for _ in range(3))
    reference = nearest_distances(held_out, training)
    brute = np.array([min(((a - b) ** 2).sum() for b in training) for a in held_out[:20]])
    np.testing.assert_allclose(reference[:20], brute, rtol=1e-9)
    assert copied_share(nearest_distances(training[:50].repeat(8, axis=0), training), reference) == 1
    assert copied_share(nearest_distances(new, training), reference) < 0.04
    half = np.concatenate([training[:200], new[:200] + 3])
    assert copied_share(nearest_distances(half, training), reference) == 0.5
