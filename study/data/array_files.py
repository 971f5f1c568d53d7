"""`npz:PATH` and `npy:PATH`: arrays of images in a file of NumPy. Nothing in such a file is executed.

An npz file names its arrays: `images` and `labels`, or by split as in Keras (`x_train`, `y_train`, `x_test`, `y_test`)
or MedMNIST (`train_images`, `train_labels`, ...). It may hold `classes`, the names of the classes, and `value_range`,
the values that are black and white.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from study.config import UserError
from study.data.arrays import loaded_arrays
from study.data.image_data import Loaded

_SPLITS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
_PLAIN = {"images": "labels", "x": "y", "X": "y"}
_BY_SPLIT = {"x_{}": "y_{}", "X_{}": "y_{}", "{}_images": "{}_labels", "images_{}": "labels_{}"}
_CLASSES, _RANGE = "classes", "value_range"


def load_npz(path: Path) -> Loaded:
    """Reads an npz file.

    Raises:
        UserError: It cannot be read, it is not clear which arrays are the images, or these cannot be used.
    """
    arrays = _read(path, "npz")
    if not isinstance(arrays, Mapping):
        raise UserError(f"npz:{path} holds one array without a name: use npy:{path}")
    keys = _keys(path, list(arrays))
    used = [key for pair in keys.values() for key in pair if key is not None]
    named = [key for key in (_CLASSES, _RANGE) if key in arrays]
    unused = [key for key in arrays if key not in (*used, *named)]
    notes = (f"took {', '.join(used + named)}" + (f"; left out {', '.join(unused)}" if unused else ""),)
    parts = {}
    for split, (images, labels) in keys.items():
        parts[split] = (_array(path, arrays, images), None if labels is None else _array(path, arrays, labels))
    return _told(
        f"npz:{path}",
        parts,
        classes=None if _CLASSES not in arrays else [str(name) for name in _array(path, arrays, _CLASSES).ravel()],
        value_range=None if _RANGE not in arrays else _array(path, arrays, _RANGE).ravel().tolist(),
        declare="add an array value_range={} to the file".format,
        notes=notes,
    )


def load_npy(path: Path) -> Loaded:
    """Reads an npy file of images, which have no labels.

    Raises:
        UserError: It cannot be read or used.
    """
    array = _read(path, "npy")
    if isinstance(array, Mapping):
        raise UserError(f"npy:{path} holds several arrays: use npz:{path}")
    declare = "save them with numpy.savez(file, images=..., value_range={}) and use npz:FILE".format
    return _told(f"npy:{path}", {"train": (array, None)}, declare=declare)


def _told(name: str, parts: dict[str, tuple[Any, Any]], **options: Any) -> Loaded:
    try:
        return loaded_arrays(parts, **options)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _read(path: Path, kind: str) -> Any:
    """What NumPy finds in a file: an array, or arrays by name, each read when it is asked for."""
    if not path.is_file():
        raise UserError(f"{kind}:{path} is not a file")
    try:
        return np.load(path, allow_pickle=False)
    except OSError as error:
        raise UserError(f"{kind}:{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{kind}:{path} is no file of arrays: {_first_line(error)}") from None


def _array(path: Path, arrays: Any, key: str) -> np.ndarray:
    try:
        return arrays[key]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"npz:{path}: its array {key} cannot be read: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return "it holds Python objects; save numbers" if "allow_pickle" in text else text[:200]


def _keys(path: Path, keys: list[str]) -> dict[str, tuple[str, str | None]]:
    """The arrays of images and of labels, if there are any, by split.

    Raises:
        UserError: None is known by its name and there are several, or those of several schemes are there.
    """
    found: list[dict[str, tuple[str, str | None]]] = []
    for images, labels in _PLAIN.items():
        if images in keys:
            found.append({"train": (images, labels if labels in keys else None)})
    for images, labels in _BY_SPLIT.items():
        parts: dict[str, tuple[str, str | None]] = {}
        for split, names in _SPLITS.items():
            named = [name for name in names if images.format(name) in keys]
            if len(named) > 1:
                break
            if named:
                key = labels.format(named[0])
                parts[split] = (images.format(named[0]), key if key in keys else None)
        else:
            if "train" in parts:
                found.append(parts)
    others = [key for key in keys if key not in (_CLASSES, _RANGE)]
    if not found and len(others) == 1:
        return {"train": (others[0], None)}
    if len(found) == 1:
        return found[0]
    listed = ", ".join(keys[:12]) + ", ..." * (len(keys) > 12)
    why = "more than one set of images" if found else "no images under a name that is known"
    raise UserError(f"npz:{path} holds {why} ({listed}): use images and labels, or x_train, y_train, x_test and y_test")
