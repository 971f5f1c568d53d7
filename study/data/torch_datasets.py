"""Reads a finite torch `Dataset` of images, or of pairs (image, label), into arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from study.config import UserError


def is_dataset(images: Any) -> bool:
    """Whether images are given as a dataset, and not as an array or a list."""
    has_items = hasattr(images, "__getitem__") and hasattr(images, "__len__")
    is_array = isinstance(images, list | tuple) or hasattr(images, "__array__") or hasattr(images, "dtype")
    return isinstance(images, Dataset) or (has_items and not is_array)


def read_dataset(dataset: Any, what: str) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...] | None, list[str]]:
    """Reads every item once.

    Args:
        dataset: It has a length; its items are images, or pairs of an image and a class number.
        what: What errors call it.

    Returns:
        Images [N, ...] as its items are, labels [N] or None, the names of classes if it knows them, and notes.

    Raises:
        UserError: It has no length, or its items are no images of one size.
    """
    try:
        count = len(dataset)
    except (TypeError, NotImplementedError):
        raise UserError(f"{what}: a dataset without a length may be endless; give a list of its images") from None
    if count < 1:
        raise UserError(f"{what}: the dataset is empty")
    images: np.ndarray | None = None
    labels: list[Any] = []
    index = -1
    for index, item in enumerate(_items(dataset, count)):
        image, label = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
        array = _array(image, f"{what}: item {index}")
        if images is None:
            images = np.empty((count, *array.shape), array.dtype)
        if array.shape != images.shape[1:] or array.dtype != images.dtype:
            raise UserError(
                f"{what}: item {index} is of shape {array.shape} and type {array.dtype}, the first of "
                f"{images.shape[1:]} and {images.dtype}: give it a transform that makes all alike"
            )
        images[index] = array
        labels.append(label.item() if isinstance(label, torch.Tensor) and label.numel() == 1 else label)
    if images is None or index + 1 != count:
        raise UserError(f"{what}: the dataset has a length of {count} and gives {index + 1} images")
    has_labels = labels[0] is not None
    names = getattr(dataset, "classes", None)
    names = tuple(map(str, names)) if has_labels and isinstance(names, list | tuple) else None
    notes = []
    if not isinstance(dataset, IterableDataset) and not np.array_equal(_array(_image(dataset[0]), what), images[0]):
        notes.append(f"{what}: the dataset gives another image each time (random transforms); each was read once")
    return images, np.array(labels) if has_labels else None, names, notes


def _items(dataset: Any, count: int) -> Iterator[Any]:
    if isinstance(dataset, IterableDataset):
        for index, item in enumerate(dataset):
            if index == count:  # it goes on beyond its length
                return
            yield item
    else:
        for index in range(count):
            yield dataset[index]


def _image(item: Any) -> Any:
    return item[0] if isinstance(item, tuple | list) and len(item) == 2 else item


def _array(image: Any, what: str) -> np.ndarray:
    if isinstance(image, Image.Image):
        image = image.convert("RGB") if image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV") else image
    elif isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = image.float().numpy() if image.dtype == torch.bfloat16 else image.numpy()
    elif not isinstance(image, np.ndarray):
        raise UserError(
            f"{what} is of type {type(image).__name__}: give images, or pairs of an image and a class number"
        )
    return np.asarray(image)
