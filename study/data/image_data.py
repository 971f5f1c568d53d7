"""A data set in its three splits, and how one is put together whatever it was read from."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from study.config import FEW_IMAGES, DataSummary, Params, UserError
from study.data.splits import Split, content_hash, copies, same_images, three_way, total_variance

logger = logging.getLogger(__name__)

HELD_OUT = 10_000
"""Images in the validation split of a large data set."""
LEAST_STEPS = 1_500
"""Training steps of a trial at a learning rate of .001, at least, if nobody says how many epochs it has.

So the first rung, an eighth of them, is not before step 187, where all six models tried had left the mean
image behind (docs/search.md).
"""
UNLABELLED = ("images",)
"""The one class of images without labels."""
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageData:
    """A data set in its three splits.

    Attributes:
        name: A name in `DATASETS`; `folder:`, `npz:` or `npy:` and an absolute path; or what arrays were called.
        train: Models and the feature network are trained on it.
        validation: Search and early stopping see it.
        test: Used once, at the end of a trial.
        classes: Names of the labels, in order; `UNLABELLED` without labels.
        summary: Sizes, hash, variance and suitable trial parameters.
        notes: What the user should know of it, one line each.
        kept: Where the cache of studies may keep it, see `study.data.kept_folder`; None if it may not, or does already.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    summary: DataSummary
    notes: tuple[str, ...] = ()
    kept: Path | None = None

    def split(self, name: str) -> Split:
        """The split called `train`, `validation` or `test`."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if name not in splits:
            raise ValueError(f"no split {name!r}: choose from {', '.join(splits)}")
        return splits[name]

    def named(self, name: str) -> ImageData:
        """The same data under another name."""
        return dataclasses.replace(self, name=name, summary=dataclasses.replace(self.summary, name=name))

    def to(self, device: torch.device | str) -> ImageData:
        """The same data on another device."""
        splits = [split.to(device) for split in (self.train, self.validation, self.test)]
        return ImageData(self.name, splits[0], splits[1], splits[2], self.classes, self.summary, self.notes)


class Loaded(NamedTuple):
    """What a loader returns: the three splits, the class names, and notes for the user."""

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def cut_missing(
    parts: dict[str, Split], given: tuple[str, ...], classes: tuple[str, ...], notes: tuple[str, ...] = ()
) -> Loaded:
    """The three splits of a user's own data; those that are not given are cut from the training images, a fifth each.

    Args:
        parts: The given splits, and all images as `train` if none is given.
        given: The splits that the user gave.
        classes: Names of the labels.
        notes: For the user.
    """
    train = parts["train"]
    missing = [name for name in SPLITS if name not in parts]
    held_out = min(HELD_OUT, max(1, len(train) // 5))
    if missing:
        cut = zip(SPLITS, three_way(train, *(held_out * (name in missing) for name in SPLITS[1:])), strict=True)
        parts = {name: part if name == "train" or name in missing else parts[name] for name, part in cut}
    if given:
        cut_off = f"; {' and '.join(missing)} cut from train" if missing else ""
        counts = ", ".join(f"{name} {len(parts[name])}" for name in SPLITS)
        notes = (f"splits given: {', '.join(given)}{cut_off} ({counts} images)", *notes)
    return Loaded(parts["train"], parts["validation"], parts["test"], classes, notes)


def copies_notes(parts: Mapping[str, Split], names: Sequence[str], given: tuple[str, ...]) -> list[str]:
    """A line about images that occur more than once; none if there is no such image.

    Args:
        parts: The splits as they were given, or all images as `train`.
        names: What to call each image, from part to part.
        given: The splits that the user gave.
    """
    found = copies(*(part.images for part in parts.values()))
    split_of = [split for split, part in parts.items() for _ in range(len(part))]
    across = [(row, first) for row, first in found if split_of[row] != split_of[first]]
    shown = across or found
    if not shown:
        return []
    one = len(shown) == 1
    what = "image is a copy of another" if one else "images are copies of others"
    if across:
        what = "image of one split is" if one else "images of one split are"
        what += " in another too, so scores may be too good"
    elif not given:
        what += ", so splits may share images and scores may be too good"
    named = ", ".join(f"{names[row]} (as {names[first]})" for row, first in shown[:3]) + ", ..." * (len(shown) > 3)
    return [f"{len(shown):,} {what}: {named}"]


def assemble(name: str, loaded: Loaded, *, is_noted: bool = False) -> ImageData:
    """The data set called `name`. Its notes are logged as warnings, each beginning with the name.

    Args:
        name: What to call it.
        loaded: What was read.
        is_noted: What is to be noted of any data set is among its notes.

    Raises:
        UserError: All training images are the same.
    """
    splits = (loaded.train, loaded.validation, loaded.test)
    variance = 0.0 if same_images(loaded.train.images) else total_variance(loaded.train.images)
    if not variance:
        raise UserError(f"data set {name}: all training images are the same, so there is nothing to learn")
    _, channels, height, width = loaded.train.images.shape
    summary = DataSummary(
        name=name,
        channels=channels,
        height=height,
        width=width,
        train_size=len(loaded.train),
        validation_size=len(loaded.validation),
        test_size=len(loaded.test),
        num_classes=len(loaded.classes),
        total_variance=variance,
        hash=content_hash(splits),
        defaults=_defaults(channels, height, width, len(loaded.train)),
    )
    notes = list(loaded.notes)
    if len(loaded.classes) < 2 and not is_noted:
        what = "no labels" if loaded.classes == UNLABELLED else f"one class ({', '.join(loaded.classes)})"
        notes.append(f"{what}: samples are compared in a network trained without classes, and no figure shows classes")
    if summary.held_out < FEW_IMAGES and not is_noted:
        notes.append(f"only {summary.held_out} images to measure with: trust no score of samples")
    lines = tuple(f"{name}: {note}" for note in notes)
    for line in lines:
        logger.warning("%s", line)
    return ImageData(name, *splits, loaded.classes, summary, lines)


def _defaults(channels: int, height: int, width: int, train_size: int) -> Params:
    """Trial parameters by image size. Small sets get more epochs, so that all take about as many steps."""
    if channels * height * width <= 16 * 16:
        tiny: Params = {"network": "mlp", "width": 128, "batch_size": 64, "learning_rate": 2e-3}
        return {**tiny, "epochs": max(60, _epochs_of(LEAST_STEPS // 2, train_size, 64))}  # at twice the rate
    batch = 128 if train_size >= 10_000 else 64
    epochs = max(min(60, max(10, round(200_000 / train_size))), _epochs_of(LEAST_STEPS, train_size, batch))
    shared: Params = {"batch_size": batch, "learning_rate": 1e-3, "epochs": epochs}
    if channels == 1 and height * width <= 32 * 32:
        return {"network": "mlp", "width": 512, **shared}
    return {"network": "conv", "width": 32, **shared}


def _epochs_of(steps: int, train_size: int, batch: int) -> int:
    """Epochs that have at least so many steps."""
    return math.ceil(steps / max(1, train_size // batch))
