"""A user's own images in memory: NumPy arrays, torch tensors, or a finite torch `Dataset`.

What the numbers mean is checked, never guessed: integers by their type, floats in [0, 1]; everything else is refused
with one line that says how to declare its range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from study.config import UserError
from study.data.array_labels import numbered
from study.data.image_data import SPLITS, ImageData, Loaded, assemble, copies_notes, cut_missing
from study.data.pixels import as_exact_bytes
from study.data.splits import Split
from study.data.torch_datasets import is_dataset, read_dataset

MIN_SIDE = 8
MIN_IMAGES = 10
_DARK = 0.1
"""Float images that reach only this far are rather bytes divided by 255 twice than images."""
_SLACK = 1e-6
"""Floats may lie this share of their range outside it, by rounding."""
_DEPTHS = (8, 10, 12, 14, 16)

Declare = Callable[[object], str]
"""What the user should do to declare a range, such as `(0, 255)`."""


def from_arrays(
    images: Any,
    labels: Any = None,
    *,
    name: str = "arrays",
    test: Any = None,
    validation: Any = None,
    classes: Sequence[str] | None = None,
    value_range: tuple[float, float] | None = None,
) -> ImageData:
    """A data set of images in memory. Splits that are not given are cut from `images`, a fifth each.

    Images of eight bits, also as floats, are stored as bytes; all others as float32, without loss of bits.

    Args:
        images: An array or tensor [N, C, H, W], [N, H, W, C] or [N, H, W]; a list of images of one size; or a torch
            `Dataset` with a length, of images or of pairs (image, label). One or three channels, sides of 8 or more.
        labels: A class per image, numbers or text; None without classes.
        name: What studies call it.
        test: The test split: images, or a pair (images, labels), or a dataset.
        validation: The validation split, likewise.
        classes: Names of the classes 0, 1, ...; by default the labels themselves.
        value_range: The values that are black and white. By default 0 and 1 for floats, 0 and 255 for uint8; for uint16
            the bits that the brightest pixel needs.

    Raises:
        UserError: The images or labels cannot be used as they are, or their range must be declared.
    """
    if not isinstance(name, str) or not name.strip() or ":" in name:
        raise UserError(f"name={name!r}: give a text without colons")
    parts = {"train": (images, labels)}
    for split, given in (("validation", validation), ("test", test)):
        if given is not None:
            is_pair = isinstance(given, tuple) and len(given) == 2
            parts[split] = given if is_pair else (given, None)
    return assemble(name, loaded_arrays(parts, classes=classes, value_range=value_range))


def loaded_arrays(
    parts: dict[str, tuple[Any, Any]],
    *,
    classes: Sequence[str] | None = None,
    value_range: Any = None,
    declare: Declare = "give value_range={}".format,
    notes: tuple[str, ...] = (),
) -> Loaded:
    """The three splits of arrays, with missing ones cut from train.

    Args:
        parts: Images and labels (or None) by split; `train` is one of them.
        classes: As in `from_arrays`.
        value_range: As in `from_arrays`.
        declare: What errors advise to do.
        notes: What is known already.

    Raises:
        UserError: As `from_arrays`.
    """
    said = list(notes)
    arrays: dict[str, np.ndarray] = {}
    labels: dict[str, Any] = {}
    for split, (images, classes_of) in parts.items():
        what = "images" if split == "train" else f"{split} images"
        if is_dataset(images):
            if classes_of is not None:
                raise UserError(f"{what}: a dataset brings its own labels; leave the others out")
            images, classes_of, names, note = read_dataset(images, what)
            classes = names if classes is None else classes
            said += note
        arrays[split] = _channels_first(_as_array(images, what), what)
        labels[split] = classes_of
    shapes = {split: array.shape[1:] for split, array in arrays.items()}
    for split, shape in shapes.items():
        if shape != shapes["train"]:
            raise UserError(
                f"{split} images are of {_shown(shape)}, the others of {_shown(shapes['train'])}: resize them"
            )
    if len(arrays["train"]) < MIN_IMAGES or not all(map(len, arrays.values())):
        sizes = ", ".join(f"{split} {len(array)}" for split, array in arrays.items())
        raise UserError(
            f"too few images ({sizes}): at least {MIN_IMAGES} to train with are needed, and 1 of each split"
        )
    low, high, notes_of_range = _range(arrays, value_range, declare)
    said += notes_of_range
    numbers, names = numbered(labels, {split: len(array) for split, array in arrays.items()}, classes)
    stored = _stored(arrays, low, high)
    splits = {split: Split(stored[split], numbers[split]) for split in SPLITS if split in stored}
    given = tuple(splits) if len(splits) > 1 else ()
    said += copies_notes(
        splits, [f"{split} {row}" for split, part in splits.items() for row in range(len(part))], given
    )
    # Cutting copies; what is not cut is copied here, so that later changes of the user's arrays do not reach the data.
    kept = [split for split in splits if split != "train" or len(splits) == len(SPLITS)]
    splits |= {split: Split(splits[split].images.clone(), splits[split].labels) for split in kept}
    return cut_missing(splits, given, names, tuple(said))


def _as_array(images: Any, what: str) -> np.ndarray:
    """The images as one array of numbers."""
    if isinstance(images, torch.Tensor):
        images = images.detach().cpu()
        images = (images.float() if images.dtype == torch.bfloat16 else images).numpy()
    if isinstance(images, list | tuple):
        each = [_as_array(image, what) for image in images]
        for index, image in enumerate(each):
            if image.shape != each[0].shape:
                raise UserError(
                    f"{what}: number {index} is of shape {image.shape}, the first of {each[0].shape}: bring them to "
                    "one size, or save them in a folder and use folder:PATH, which resizes them"
                )
        images = np.stack(each) if each else np.empty((0, MIN_SIDE, MIN_SIDE))
    array = np.asarray(images)
    if array.dtype.kind not in "buif":
        raise UserError(f"{what} are of type {array.dtype}, not numbers")
    return array


def _channels_first(array: np.ndarray, what: str) -> np.ndarray:
    """A view [N, C, H, W]."""
    layouts = "[N, C, H, W], [N, H, W, C] or [N, H, W] with one or three channels"
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
        if first == last:
            raise UserError(f"{what} are of shape {array.shape}: give {layouts}")
        array = array if first else array.transpose(0, 3, 1, 2)
    else:
        hint = f"; images.reshape({len(array)}, height, width) undoes flattening" if array.ndim == 2 else ""
        raise UserError(f"{what} are of shape {array.shape}: give {layouts}{hint}")
    if min(array.shape[2:]) < MIN_SIDE:
        raise UserError(f"{what} are of {_shown(array.shape[1:])} pixels: sides of at least {MIN_SIDE} are needed")
    return array


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _range(arrays: dict[str, np.ndarray], declared: Any, declare: Declare) -> tuple[float, float, list[str]]:
    """The values that are black and white, and notes.

    Raises:
        UserError: There are values that are not finite or outside the declared range, or nothing says what is white.
    """
    kinds = {array.dtype for array in arrays.values()}
    if len(kinds) > 1 and declared is None:
        named = ", ".join(f"{split} {array.dtype}" for split, array in arrays.items())
        raise UserError(f"the splits have different types ({named}): convert them to one")
    lowest, largest = np.inf, -np.inf
    for split, array in arrays.items():
        low, high = float(array.min()), float(array.max())
        if not np.isfinite([low, high]).all():
            raise UserError(f"{_place(array, split, lambda block: ~np.isfinite(block))}: repair it or leave it out")
        lowest, largest = min(lowest, low), max(largest, high)
    if declared is not None:
        return *_declared(arrays, declared, lowest, largest), []
    kind = next(iter(kinds))
    found = f"{kind} images with values from {lowest:g} to {largest:g}"
    if kind.kind == "b":
        return 0, 1, []
    if kind == np.uint8:
        if largest <= 1:
            raise UserError(f"{found} are black as bytes: {declare((0, 1))} if 1 is white, {declare((0, 255))} if not")
        dark = f"{found} are taken as they are; {declare((0, int(largest)))} if the largest is white"
        return 0, 255, [dark] if largest < 128 else []
    if kind == np.uint16:
        top = 2 ** next(bits for bits in _DEPTHS if largest <= 2**bits - 1) - 1
        return 0, top, [f"its images of {kind} reach {largest:g}, so {top} is white; no bit is lost"]
    if kind.kind != "f":
        likely = (0, 255) if lowest >= 0 and 1 < largest <= 255 else (int(lowest), int(largest))
        raise UserError(
            f"{found}: this type does not say what is white; {declare(likely)} if these are black and white"
        )
    if lowest >= -_SLACK and _DARK <= largest <= 1 + _SLACK:
        return 0, 1, []
    if lowest >= 0 and largest < _DARK:
        raise UserError(f"{found} are nearly black, as if divided by 255 twice: {declare((0, 1))} if they are right")
    if lowest >= -1 - _SLACK and largest <= 1 + _SLACK:
        raise UserError(f"{found} look like [-1, 1]: {declare((-1, 1))} if that is so")
    if lowest >= 0 and largest <= 255:
        raise UserError(f"{found} look like 0 to 255: {declare((0, 255))} if that is so")
    raise UserError(
        f"{found} are not in [0, 1]: {declare('(black, white)')} with the two values, or undo their normalisation"
    )


def _declared(arrays: dict[str, np.ndarray], declared: Any, lowest: float, largest: float) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in declared)
    except (TypeError, ValueError):
        raise UserError(f"value_range={declared!r}: give two numbers, black and white") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise UserError(f"value_range=({low:g}, {high:g}): give two finite numbers, the smaller first")
    slack = _SLACK * (high - low)
    if lowest < low - slack or largest > high + slack:
        for split, array in arrays.items():
            if array.min() < low - slack or array.max() > high + slack:
                place = _place(array, split, lambda block: (block < low - slack) | (block > high + slack))
                raise UserError(f"{place}, which is outside value_range=({low:g}, {high:g}): correct one of them")
    return low, high


def _place(array: np.ndarray, split: str, is_wrong: Callable[[np.ndarray], np.ndarray]) -> str:
    """Where the first wrong value of images [N, C, H, W] is, and what it is."""
    for index, image in enumerate(array):
        wrong = np.argwhere(is_wrong(image))
        if len(wrong):
            channel, row, column = (int(part) for part in wrong[0])
            value = image[channel, row, column]
            return f"image {index} of {split} has {value:g} at row {row}, column {column}, channel {channel}"
    raise ValueError("no such value")


def _stored(arrays: dict[str, np.ndarray], low: float, high: float) -> dict[str, torch.Tensor]:
    """Images as `Split.images`, all splits of one type; not copied if they are bytes already."""
    are_integers = all(array.dtype.kind in "bui" for array in arrays.values())
    if are_integers and float(low).is_integer() and 255 % (high - low) == 0:
        factor = int(255 // (high - low))
        if factor == 1 and low == 0:
            found = {split: array.astype(np.uint8, copy=False) for split, array in arrays.items()}
        else:
            found = {s: ((a.astype(np.int64) - int(low)) * factor).astype(np.uint8) for s, a in arrays.items()}
    else:
        found = {split: _scaled(array, low, high) for split, array in arrays.items()}
        eps = max(np.finfo(a.dtype if a.dtype.kind == "f" else np.float32).eps for a in arrays.values())
        exact = {split: as_exact_bytes(array, max(float(eps), 1e-7)) for split, array in found.items()}
        if (as_bytes := {split: array for split, array in exact.items() if array is not None}).keys() == found.keys():
            found = as_bytes
    return {split: torch.from_numpy(np.ascontiguousarray(array)) for split, array in found.items()}


def _scaled(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values from low to high as float32 in [0, 1]."""
    found = np.empty(array.shape, np.float32)
    for image, scaled in zip(array, found, strict=True):
        scaled[...] = ((image.astype(np.float64) - low) / (high - low)).clip(0, 1)
    return found
