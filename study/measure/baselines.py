"""PCA reconstructions, which a healthy autoencoder beats at the same latent size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

MAX_COMPONENTS = 64
_EXACT = 1_024
_IMAGES = 10_000
_BLOCK = 4_096


def pca_errors(train: Tensor, splits: Mapping[str, Tensor]) -> dict[str, dict[int, float]]:
    """Mean squared error per pixel of PCA reconstructions, for 1 to 64 components.

    Args:
        train: Images to fit the components to, uint8 [N, C, H, W]. Up to 1,024 numbers per image the fit is exact and
            uses all of them; above, it uses 10,000 images and randomised subspace iteration.
        splits: Images to reconstruct by name, uint8 [n, C, H, W].

    Returns:
        `{split: {components: error}}` for pixels in [0, 1] and reconstructions that are not clipped.
    """
    mean, components = _components(train.flatten(1))
    result = {}
    for name, images in splits.items():
        energy, projected = 0.0, np.zeros(len(components))
        for block in images.flatten(1).split(_BLOCK):
            centred = block.cpu().numpy().astype(np.float32) / 255 - mean
            energy += float(np.square(centred, dtype=np.float64).sum())
            projected += np.square(centred @ components.T, dtype=np.float64).sum(0)
        left = (energy - np.cumsum(projected)) / images.numel()
        result[name] = {size: float(max(error, 0.0)) for size, error in enumerate(left, start=1)}
    return result


def _components(pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean [P] and leading components [k, P], float32."""
    size = pixels.shape[1]
    if size <= _EXACT:
        total, products = np.zeros(size), np.zeros((size, size))
        for block in pixels.split(_BLOCK):
            values = block.cpu().numpy().astype(np.float32) / 255
            total += values.sum(0, dtype=np.float64)
            products += values.T @ values
        mean = total / len(pixels)
        _, vectors = np.linalg.eigh(products / len(pixels) - np.outer(mean, mean))
        return mean.astype(np.float32), vectors[:, ::-1][:, :MAX_COMPONENTS].T.astype(np.float32)
    from sklearn.decomposition import PCA

    chosen = torch.linspace(0, len(pixels) - 1, min(_IMAGES, len(pixels))).long()
    values = pixels[chosen.to(pixels.device)].cpu().numpy().astype(np.float32) / 255
    mean = values.mean(0)
    pca = PCA(min(MAX_COMPONENTS, len(values) - 1), svd_solver="randomized", random_state=0).fit(values)
    return mean, np.asarray(pca.components_, dtype=np.float32)
