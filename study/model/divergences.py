"""Distances between codes and the prior N(0, I): pure functions, differentiable in the codes."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Widths of the kernels that are summed, as multiples of the natural width: the seven of the original WAE code."""

_ROWS = 256
"""Codes compared at once if no gradient is needed, so that their distances stay in the processor's cache."""


class Kernel(Protocol):
    """A sum of kernels over `SCALES`, such as `imq` and `rbf`."""

    def __call__(self, squared_distance: Tensor, dim: int, slope: Tensor | None = None) -> Tensor:
        """The kernel's value. Its derivative is added to `slope`."""
        ...


def unit_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """The terms of `gaussian_kl`, one for each unit of the code: [B, d], nats, never negative."""
    # expm1 keeps the digits that exp(logvar) - 1 loses near the prior, where collapsed posteriors are.
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, diag exp(logvar)) || N(0, I)), Kingma & Welling 1312.6114, appendix B.

    Args:
        mu: Means, [B, d].
        logvar: Logarithms of the variances (not the deviations), [B, d].

    Returns:
        [B], nats, never negative.
    """
    return unit_kl(mu, logvar).sum(dim=1)


def imq(squared_distance: Tensor, dim: int, slope: Tensor | None = None) -> Tensor:
    """Inverse multiquadratics kernel C / (C + |a-b|^2) with C = s * 2 * dim, summed over `SCALES` (1711.01558, §4).

    Args:
        squared_distance: |a-b|^2, any shape, not negative.
        dim: Size of the code; 2 * dim is the expected squared distance of two draws from the prior.
        slope: If given, the derivative with respect to the squared distance is added to it; shaped like the input.

    Returns:
        The kernel, in (0, 7], shaped like the input.
    """
    value = torch.zeros_like(squared_distance)
    for scale in SCALES:
        constant = scale * 2 * dim
        inverse = (squared_distance + constant).reciprocal_()
        value.add_(inverse, alpha=constant)
        if slope is not None:
            slope.addcmul_(inverse, inverse, value=-constant)
    return value


def rbf(squared_distance: Tensor, dim: int, slope: Tensor | None = None) -> Tensor:
    """Gaussian kernel exp(-|a-b|^2 / (2 * s * dim)), summed over `SCALES`; arguments and results as in `imq`."""
    value = torch.zeros_like(squared_distance)
    for scale in SCALES:
        rate = 1 / (2 * scale * dim)
        bell = (squared_distance * -rate).exp_()
        value.add_(bell)
        if slope is not None:
            slope.add_(bell, alpha=-rate)
    return value


KERNELS: dict[str, Kernel] = {"imq": imq, "rbf": rbf}


def squared_mmd(z: Tensor, prior: Tensor, kernel: str) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, lemma 6).

    `sum_{i≠j} k(z_i,z_j) / n(n-1) + sum_{i≠j} k(p_i,p_j) / m(m-1) - 2 sum_{ij} k(z_i,p_j) / nm`. It is slightly
    negative about half of the time when both samples come from one distribution; clamping would bias the gradient.

    Args:
        z: Codes, [n, d] with n at least 2. Only they receive a gradient.
        prior: Draws from the prior, [m, d] with m at least 2.
        kernel: A name in `KERNELS`.

    Returns:
        0-dim, in the kernel's unit (at most 14). If z receives a gradient, it takes about 4 (n+m)^2 numbers of memory.
    """
    if z.requires_grad:
        return _SquaredMMD.apply(z, prior, KERNELS[kernel])
    n, m, function = len(z), len(prior), KERNELS[kernel]
    prior = prior.detach()
    own = function(z.new_zeros(()), z.shape[1])  # the kernel of a code with itself, which the estimate leaves out
    within_z = (_kernel_sum(z, z, function) - n * own) / (n * (n - 1))
    within_prior = (_kernel_sum(prior, prior, function) - m * own) / (m * (m - 1))
    return (within_z + within_prior - 2 * _kernel_sum(z, prior, function) / (n * m)).to(z.dtype)


def _kernel_sum(a: Tensor, b: Tensor, kernel: Kernel) -> Tensor:
    """Sum of the kernel over all pairs of codes [n, d] and [m, d]: 0-dim, float64."""
    norms = b.square().sum(dim=1)
    total = a.new_zeros((), dtype=torch.float64)
    for start in range(0, len(a), _ROWS):
        rows = a[start : start + _ROWS]
        distance = torch.addmm(rows.square().sum(dim=1)[:, None] + norms, rows, b.T, alpha=-2).clamp_(min=0)
        if a is b:
            distance[:, start:].fill_diagonal_(0)  # which rounding can leave above zero
        total += kernel(distance, a.shape[1]).sum(dtype=torch.float64)
    return total


def sliced_wasserstein(z: Tensor, prior: Tensor, directions: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of one-dimensional projections, averaged over directions (1804.01947, eq. 7).

    Args:
        z: Codes, [n, d].
        prior: As many draws from the prior, [n, d].
        directions: Unit vectors, [d, L].

    Returns:
        0-dim, in squared units of the code.
    """
    # On a line the best transport matches the sorted samples.
    return ((z @ directions).sort(dim=0).values - (prior @ directions).sort(dim=0).values).square().mean()


class _SquaredMMD(torch.autograd.Function):
    """The squared MMD with its gradient written out: autograd through seven kernels took 5 times as long at n = 64."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, prior: Tensor, kernel: Kernel) -> Tensor:
        n, m, dim = len(z), len(prior), z.shape[1]
        points = torch.cat([z, prior])  # [n+m, d]
        norms = points.square().sum(dim=1)
        distance = torch.addmm(norms[:, None] + norms, points, points.T, alpha=-2)  # |a|^2 + |b|^2 - 2ab, [n+m, n+m]
        distance.clamp_(min=0).fill_diagonal_(0)  # which rounding can leave below zero
        slope = torch.zeros_like(distance)
        value = kernel(distance, dim, slope)
        diagonal = value.diagonal()
        within_z = (value[:n, :n].sum() - diagonal[:n].sum()) / (n * (n - 1))
        within_prior = (value[n:, n:].sum() - diagonal[n:].sum()) / (m * (m - 1))
        slope[:, :n] *= 1 / (n * (n - 1))
        slope[:, n:] *= -1 / (n * m)
        ctx.save_for_backward(slope[:n], points)
        return within_z + within_prior - 2 * value[:n, n:].mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        slope, points = ctx.saved_tensors  # [n, n+m], [n+m, d]
        # Each pair counts twice in the estimate, and d|a-b|^2/da = 2(a-b): 4 * sum_j slope_ij (z_i - y_j).
        pull = slope.sum(dim=1, keepdim=True) * points[: len(slope)] - slope @ points
        return gradients[0] * 4 * pull, None, None
