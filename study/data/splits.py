"""Splits of a data set. An image is always in the same split, whatever the study's seed."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_SPLIT_SEED = 20_180_504
_CHUNK = 8_192
_CHUNK_PIXELS = 2**25
"""Pixels that are floats at once: 128 MiB."""


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8, or float32 in [0, 1] where eight bits would lose something (`study.data.pixels`), [N, C, H, W].
        labels: int64 [N].
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Split:
        """The split on another device."""
        return Split(self.images.to(device), self.labels.to(device))

    def take(self, indices: Tensor) -> Split:
        """The images at `indices` (int64), in that order."""
        return Split(self.images[indices].contiguous(), self.labels[indices])

    def first(self, count: int) -> Split:
        """The first `count` images in the order of `stratified_order`."""
        return self.take(stratified_order(self.labels.cpu())[:count].to(self.labels.device))


def stratified_order(labels: Tensor) -> Tensor:
    """An order in which any first n images hold the classes in the whole set's proportions, random within a class.

    Args:
        labels: int64 [N].

    Returns:
        int64 [N], a permutation that depends only on the labels.
    """
    generator = np.random.RandomState(_SPLIT_SEED)  # the legacy generator: its stream is the same in every numpy
    values = labels.numpy()
    rank = np.empty(len(values))
    for label in np.unique(values):
        members = generator.permutation(np.flatnonzero(values == label))
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    ties = generator.permutation(len(values))
    return torch.from_numpy(np.lexsort((ties, rank)))


def three_way(whole: Split, validation_size: int, test_size: int) -> tuple[Split, Split, Split]:
    """Cuts one set into train, validation and test splits, stratified by class."""
    order = stratified_order(whole.labels)
    train_size = len(whole) - validation_size - test_size
    parts = torch.split(order, [train_size, validation_size, test_size])
    return whole.take(parts[0]), whole.take(parts[1]), whole.take(parts[2])


def content_hash(splits: tuple[Split, ...]) -> str:
    """Hex digest of the shapes, pixels and labels of the splits, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for split in splits:
        digest.update(repr(tuple(split.images.shape)).encode())
        for tensor in (split.images, split.labels):
            digest.update(tensor.contiguous().numpy().reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def same_images(images: Tensor) -> bool:
    """Whether all images [N, ...] are equal."""
    return all(bool((chunk == images[:1]).all()) for chunk in images.split(_CHUNK))


def copies(*parts: Tensor) -> list[tuple[int, int]]:
    """The rows that repeat an earlier row exactly, each with the first row that holds the same image.

    Args:
        parts: Images [N, ...] of any type, on the CPU. Rows are counted on from part to part.
    """
    first: dict[bytes, int] = {}
    found = []
    for row, image in enumerate(itertools.chain.from_iterable(part.contiguous().numpy() for part in parts)):
        original = first.setdefault(hashlib.blake2b(image.data, digest_size=16).digest(), row)
        if original != row:
            found.append((row, original))
    return found


def total_variance(images: Tensor) -> float:
    """Sum over pixels and channels of the variance over images, pixels scaled to [0, 1].

    Args:
        images: As stored, uint8 or float in [0, 1], [N, C, H, W].
    """
    is_bytes = images.dtype == torch.uint8
    total = torch.zeros(images.shape[1:], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for chunk in images.split(max(1, min(_CHUNK, _CHUNK_PIXELS // images[0].numel()))):
        # Float32 has enough digits for sums of bytes. Floats are taken from the first image, in double precision.
        values = chunk.float() if is_bytes else chunk.double() - images[0].double()
        total += values.sum(0)
        squares += values.square().sum(0)
    mean = total / len(images)
    return float((squares / len(images) - mean.square()).clamp(min=0).sum() / (255**2 if is_bytes else 1))
