"""PCA reconstructions, which a healthy autoencoder beats at the same latent size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from study.data.pixels import as_float

MAX_COMPONENTS = 64
_EXACT = 1_024
_IMAGES = 10_000
_BLOCK = 4_096
_NUMBERS = 100_000
"""Numbers of a block of reconstructions, so that it stays in the processor's cache while components are added."""


def pca_errors(train: Tensor, splits: Mapping[str, Tensor]) -> dict[str, dict[int, float]]:
    """Mean squared error per pixel of PCA reconstructions, for 0 to 64 components; without any it is the mean image's.

    Args:
        train: Images to fit the components to, as stored, [N, C, H, W]. Up to 1,024 numbers per image the fit is exact
            and uses all of them; above, it uses 10,000 images and randomised subspace iteration.
        splits: Images to reconstruct by name, as stored, [n, C, H, W].

    Returns:
        `{split: {components: error}}` for pixels in [0, 1], of reconstructions clipped to [0, 1] as models' are.
    """
    mean, components = (torch.from_numpy(array) for array in _components(train.flatten(1)))
    return {name: _clipped_errors(images.flatten(1), mean, components) for name, images in splits.items()}


def _clipped_errors(pixels: Tensor, mean: Tensor, components: Tensor) -> dict[int, float]:
    """Error by number of components, of pixels [n, P], given the mean [P] and the components [k, P]."""
    totals = [0.0] * (len(components) + 1)
    for block in pixels.split(max(1, _NUMBERS // pixels.shape[1])):
        values = as_float(block.cpu())
        weights = (values - mean) @ components.T
        reconstruction, error = mean.expand_as(values).clone(), torch.empty_like(values)
        for size in range(len(totals)):
            if size:
                reconstruction.addr_(weights[:, size - 1], components[size - 1])
            torch.clamp(reconstruction, 0, 1, out=error).sub_(values)
            totals[size] += float(torch.dot(error.view(-1), error.view(-1)))
    return {size: total / pixels.numel() for size, total in enumerate(totals)}


def _components(pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean [P] and leading components [k, P], float32."""
    size = pixels.shape[1]
    if size <= _EXACT:
        total, products = np.zeros(size), np.zeros((size, size))
        for block in pixels.split(_BLOCK):
            values = as_float(block.cpu()).numpy()
            total += values.sum(0, dtype=np.float64)
            products += values.T @ values
        mean = total / len(pixels)
        _, vectors = np.linalg.eigh(products / len(pixels) - np.outer(mean, mean))
        return mean.astype(np.float32), vectors[:, ::-1][:, :MAX_COMPONENTS].T.astype(np.float32)
    from sklearn.decomposition import PCA

    chosen = torch.linspace(0, len(pixels) - 1, min(_IMAGES, len(pixels))).long()
    values = as_float(pixels[chosen.to(pixels.device)].cpu()).numpy()
    mean = values.mean(0)
    pca = PCA(min(MAX_COMPONENTS, len(values) - 1), svd_solver="randomized", random_state=0).fit(values)
    return mean, np.asarray(pca.components_, dtype=np.float32)
