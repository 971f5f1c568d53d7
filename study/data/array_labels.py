"""Labels as users have them, numbers or text, turned into class numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from study.config import UserError
from study.data.image_data import UNLABELLED


def numbered(
    labels: Mapping[str, Any], sizes: Mapping[str, int], classes: Sequence[str] | None
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Class numbers int64 [N] by split, and the names of the classes.

    Args:
        labels: A class per image by split, numbers or text; None for a split without labels.
        sizes: Images by split.
        classes: Names of the classes 0, 1, ...; by default the sorted labels of `train`.

    Raises:
        UserError: Some splits have labels and others have none; or labels are no classes, or do not fit the images.
    """
    without = [split for split, values in labels.items() if values is None]
    if len(without) == len(labels):
        if classes is not None:
            raise UserError("classes are named, and there are no labels: give the labels too, or leave out the names")
        return {split: torch.zeros(size, dtype=torch.int64) for split, size in sizes.items()}, UNLABELLED
    if without:
        raise UserError(f"{', '.join(without)} has no labels, the other images have: give all of them labels, or none")
    values = {split: _flat(values, sizes[split], split) for split, values in labels.items()}
    is_text = {split: array.dtype.kind == "U" for split, array in values.items()}
    if len(set(is_text.values())) > 1:
        raise UserError("labels are numbers in one split and text in another: use one of the two")
    if classes is None:
        known = np.unique(values["train"])
        if len(known) > max(2, sizes["train"] // 2):
            raise UserError(
                f"labels have {len(known):,} different values for {sizes['train']:,} images, so they are no classes: "
                "leave them out"
            )
        names = tuple(str(value) for value in known)
    else:
        names = tuple(str(name) for name in classes)
        if len(set(names)) < len(names) or not names:
            raise UserError("classes must be names, no two of them equal")
        known = np.array(names) if is_text["train"] else np.arange(len(names))
    order = np.argsort(known)
    numbers = {}
    for split, array in values.items():
        at = order[np.searchsorted(known, array, sorter=order).clip(max=len(known) - 1)]
        if len(strange := np.flatnonzero(known[at] != array)):
            shown = array[strange[0]]
            source = "train has no such label" if classes is None else f"there are {len(names)} classes"
            raise UserError(f"image {int(strange[0])} of {split} has the label {str(shown)!r}, and {source}")
        numbers[split] = torch.from_numpy(at.astype(np.int64))
    return numbers, names


def _flat(labels: Any, size: int, split: str) -> np.ndarray:
    """Labels [N] as int64 or text."""
    if isinstance(labels, torch.Tensor):
        labels = labels.detach().cpu().numpy()
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise UserError(
            f"labels of {split} are of shape {array.shape}: give one per image (of one-hot labels, labels.argmax(1))"
        )
    if len(array) != size:
        raise UserError(f"{split} has {size:,} images and {len(array):,} labels: give one label per image")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array):
        array = array.astype(str)
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind not in "buif" or not (np.isfinite(array).all() and (array == np.floor(array)).all()):
        raise UserError(
            f"labels of {split} are neither whole numbers nor text: give a class per image, or leave them out"
        )
    return array.astype(np.int64)
