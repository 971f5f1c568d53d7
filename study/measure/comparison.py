"""Compares two sets of feature vectors: Fréchet and kernel distance, precision, recall, density and coverage.

Arrays in, numbers out, in float64 and without torch. Feature arrays are [n, d]; a `FeatureSet` remembers what was
computed from one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np

NEAREST = 5
"""k of precision, recall, density and coverage (arXiv 2002.09797, §4)."""
_BLOCK = 512
_GROUPS = 64


class Moments(NamedTuple):
    """Mean [d] and covariance [d, d] (unbiased) of a set of vectors, float64."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(features: np.ndarray) -> Moments:
    """Mean and covariance of vectors [n, d], n at least 2. Not finite if a vector is not."""
    values = np.asarray(features, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        mean = values.mean(0)
        centred = values - mean
        return Moments(mean, centred.T @ centred / (len(values) - 1))


def root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root of a positive semidefinite matrix [d, d]."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def frechet_distance(a: Moments, b: Moments, root_a: np.ndarray | None = None) -> float:
    """Squared Fréchet distance of two Gaussians (Heusel et al. 1706.08500, eq. 6).

    `tr (A B)^½` is computed as `tr (A^½ B A^½)^½`. Its argument is symmetric, so the eigenvalues are real, and the
    result holds even if a covariance is singular. A general matrix square root can fail there.

    Args:
        a: Usually of the real images.
        b: The other Gaussian.
        root_a: `root(a.covariance)`, if it is known already.

    Returns:
        The distance, at least 0; NaN when an input is not finite.
    """
    if not all(np.isfinite(part).all() for part in (*a, *b)):
        return math.nan
    half = root(a.covariance) if root_a is None else root_a
    shared = np.sqrt(np.linalg.eigvalsh(half @ b.covariance @ half).clip(min=0)).sum()
    distance = np.square(a.mean - b.mean).sum() + np.trace(a.covariance) + np.trace(b.covariance) - 2 * shared
    return float(np.maximum(distance, 0.0))


def fid(real: np.ndarray, generated: np.ndarray) -> float:
    """Fréchet distance of two sets of feature vectors."""
    return frechet_distance(moments(real), moments(generated))


def kid(
    real: np.ndarray, generated: np.ndarray, within_real: float | None = None, within_generated: float | None = None
) -> float:
    """Kernel inception distance: unbiased squared MMD with the kernel (a·b/d + 1)³ (Bińkowski et al. 1801.01401).

    It is slightly negative about half of the time when both sets come from one distribution.

    Args:
        real: Features of real images.
        generated: Features of generated ones.
        within_real: `kernel_within(real)`, if it is known already.
        within_generated: `kernel_within(generated)`, if it is known already.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (real, generated))
    within_a = kernel_within(a) if within_real is None else within_real
    within_b = kernel_within(b) if within_generated is None else within_generated
    return float(within_a + within_b - 2 * _kernel_sum(a, b) / (len(a) * len(b)))


def kernel_within(values: np.ndarray) -> float:
    """Mean of KID's kernel over all pairs of two different vectors of one set, float64 [n, d]."""
    diagonal = ((np.square(values).sum(1) / values.shape[1] + 1) ** 3).sum()
    return (_kernel_sum(values, values) - diagonal) / (len(values) * (len(values) - 1))


def _kernel_sum(left: np.ndarray, right: np.ndarray) -> float:
    result = 0.0
    for start in range(0, len(left), _BLOCK):
        base = left[start : start + _BLOCK] @ right.T / left.shape[1] + 1
        result += float(np.vdot(np.square(base), base))  # NumPy's power takes eight times as long
    return result


class Neighbourhood(NamedTuple):
    """How generated samples lie among real ones. Higher is better for each.

    Attributes:
        precision: Share of samples inside some real image's neighbourhood (Kynkäänniemi et al. 1904.06991).
        recall: Share of real images inside some sample's neighbourhood.
        density: Real neighbourhoods around a sample on average, over k; can exceed 1 (Naeem et al. 2002.09797, eq. 3).
        coverage: Share of real images whose neighbourhood holds a sample (eq. 4).
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhood(
    real: np.ndarray,
    generated: np.ndarray,
    nearest: int = NEAREST,
    real_radius: Callable[[int], np.ndarray] | None = None,
    generated_radius: Callable[[int], np.ndarray] | None = None,
) -> Neighbourhood:
    """Precision, recall, density and coverage. A vector's neighbourhood reaches to its k-th nearest in its own set.

    k is smaller for sets with fewer than k neighbours. A vector on the boundary is outside, as in the paper's code.

    Args:
        real: Features of real images.
        generated: Features of generated ones.
        nearest: k.
        real_radius: `FeatureSet.knn_radius` of the real features, if there is a set that remembers it.
        generated_radius: The same for the generated features.
    """
    if not (np.isfinite(real).all() and np.isfinite(generated).all()):
        return Neighbourhood(math.nan, math.nan, math.nan, math.nan)
    real, generated = (np.asarray(values, dtype=np.float64) for values in (real, generated))
    k = min(nearest, len(real) - 1, len(generated) - 1)
    radius_of_real = _knn_radius(real, k) if real_radius is None else real_radius(k)
    radius_of_generated = _knn_radius(generated, k) if generated_radius is None else generated_radius(k)
    inside_real = np.zeros(len(generated))
    recalled, nearest_sample = np.zeros(len(real), bool), np.empty(len(real))
    for start in range(0, len(real), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distance = _distances(real[rows], generated)
        inside_real += (distance < radius_of_real[rows, None]).sum(0)
        recalled[rows] = (distance < radius_of_generated).any(1)
        nearest_sample[rows] = distance.min(1)
    return Neighbourhood(
        precision=float((inside_real > 0).mean()),
        recall=float(recalled.mean()),
        density=float(inside_real.mean() / k),
        coverage=float((nearest_sample < radius_of_real).mean()),
    )


COPY_IMAGES = 1_000
"""So many samples and held-out images are looked at."""
LEAST_HELD_OUT = 200
"""With fewer held-out images, the nearest 1 % of them are the nearest alone, and honest models look like copiers."""
COPY_QUANTILE = 0.01
"""A sample is a copy if it lies as near to a training image as this share of held-out images do, or nearer."""


def nearest_distances(values: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Squared distance of each vector [n, d] to the nearest of the training vectors [N, d]: [n]."""
    values, training = (np.asarray(of, dtype=np.float64) for of in (values, training))
    blocks = [_distances(values[start : start + _BLOCK], training).min(1) for start in range(0, len(values), _BLOCK)]
    return np.concatenate(blocks)


def copied_share(generated: np.ndarray, held_out: np.ndarray) -> float:
    """Share of generated images that copy a training image: .01 for new images, 1 for a training set learnt by heart.

    It needs some hundred held-out images. None of them is a copy, so the nearest 1 % say how near a new image comes.
    This is the idea of the data-copying test (Meehan et al., arXiv 2004.05675) for the lower tail alone.

    Args:
        generated: `nearest_distances` of generated images, [n].
        held_out: `nearest_distances` of held-out real images, [m].
    """
    return float((generated <= np.quantile(held_out, COPY_QUANTILE)).mean())


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [n, m]. Those within rounding of 0 become 0, so that copies count as copies."""
    lengths_a, lengths_b = np.square(a).sum(1)[:, None], np.square(b).sum(1)
    distance = a @ b.T
    distance *= -2  # in place: a pass over memory costs as much as the arithmetic
    distance += lengths_a
    distance += lengths_b
    distance[distance < 2e-12 * lengths_a] = 0
    return distance


def _knn_radius(values: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of every vector to its k-th nearest other vector, [n]."""
    blocks = [
        _kth_smallest(_distances(values[start : start + _BLOCK], values), k) for start in range(0, len(values), _BLOCK)
    ]
    return np.concatenate(blocks)


def _kth_smallest(distance: np.ndarray, k: int) -> np.ndarray:
    """The k-th smallest of each row [m], counted from 0: [n].

    The k + 1 smallest lie in the k + 1 groups of columns with the smallest minima, so only those are partitioned.
    """
    rows, columns = distance.shape
    size = columns // _GROUPS
    if size < 2 or k >= _GROUPS:
        return np.partition(distance, k, axis=1)[:, k]
    whole = distance[:, : size * _GROUPS].reshape(rows, _GROUPS, size)
    nearest = np.argpartition(whole.min(axis=2), k, axis=1)[:, : k + 1, None]
    candidates = np.take_along_axis(whole, nearest, axis=1).reshape(rows, -1)
    rest = distance[:, size * _GROUPS :]
    return np.partition(np.concatenate([candidates, rest], axis=1), k, axis=1)[:, k]


class FeatureSet:
    """Features of real or generated images, with the quantities that comparisons need, each computed at most once.

    Args:
        features: [n, d]; kept as float64.
    """

    def __init__(self, features: np.ndarray) -> None:
        self.features = np.asarray(features, dtype=np.float64)
        self._radii: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance."""
        return moments(self.features)

    @cached_property
    def root(self) -> np.ndarray:
        """The square root of the covariance."""
        return root(self.moments.covariance)

    @cached_property
    def kernel_within(self) -> float:
        """The part of KID that depends on this set alone."""
        return kernel_within(self.features)

    def knn_radius(self, k: int) -> np.ndarray:
        """Squared distance of each vector to its k-th nearest other vector, [n]."""
        if k not in self._radii:
            self._radii[k] = _knn_radius(self.features, k)
        return self._radii[k]

    def fid(self, generated: FeatureSet) -> float:
        """Fréchet distance between these real features and generated ones."""
        return frechet_distance(self.moments, generated.moments, self.root)

    def kid(self, generated: FeatureSet) -> float:
        """Kernel inception distance between these real features and generated ones."""
        return kid(self.features, generated.features, self.kernel_within, generated.kernel_within)

    def neighbourhood(self, generated: FeatureSet) -> Neighbourhood:
        """How generated features lie among these real ones."""
        return neighbourhood(
            self.features, generated.features, real_radius=self.knn_radius, generated_radius=generated.knn_radius
        )
