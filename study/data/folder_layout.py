"""How a folder of images is laid out: flat, or one folder per class, or either of them below one folder per split."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from study.config import UserError
from study.data.image_data import SPLITS, UNLABELLED

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


class ImageFile(NamedTuple):
    """A file that should be an image.

    Attributes:
        path: The file.
        label: Its class; that of `UNLABELLED` if the folder holds no folders of classes.
        split: `train`, `validation` or `test`; `train` if the folder is not split.
    """

    path: Path
    label: str
    split: str


class Layout(NamedTuple):
    """What a folder holds.

    Attributes:
        files: The files of its classes, in the order of their paths within each split.
        outside: Files beside the folders of classes.
        others: What is no file, such as named pipes and links that lead nowhere.
        given: The splits there are, in the order of `SPLITS`; none if the folder's own folders are the classes.
        labels: The classes that have a folder, whatever is in it.
        nested: Folders within a folder that is the only class, which may have been meant as classes.
    """

    files: list[ImageFile]
    outside: list[Path]
    others: list[Path]
    given: tuple[str, ...]
    labels: tuple[str, ...]
    nested: tuple[str, ...]


def read_layout(root: Path) -> Layout:
    """Finds every file of a folder, also in nested ones: under `<class>/`, `<split>/`, `<split>/<class>/`, or itself.

    Hidden files are left out. Folders called train, training, val, valid, validation, dev, test and testing are splits
    if there are two or more of them, train among them, or train alone with folders in it; and no other folder.

    Raises:
        UserError: There is no such folder, or it is not clear which folders are splits.
    """
    if not root.is_dir():
        raise UserError(f"folder:{root} is not a folder: give a folder of images, or of one folder per class")
    others: list[Path] = []
    try:
        given = _given_splits(root, _entries(root)[0])
        parts = given or {"train": root}
        outside: list[Path] = []
        if given:
            outside += _files(_entries(root)[1], others)
        files, labels = [], set()
        flat = not any(_classes(folder) for folder in parts.values())
        for split, folder in parts.items():
            if flat:
                files += [ImageFile(path, UNLABELLED[0], split) for path in _walk(folder, others)]
                continue
            classes, strays = _entries(folder)
            outside += _files(strays, others)
            labels |= {label.name for label in classes}
            files += [ImageFile(path, label.name, split) for label in classes for path in _walk(label, others)]
        nested = ()
        if len(labels) == 1 and not given:
            nested = tuple(folder.name for folder in _entries(root / next(iter(labels)))[0])
    except OSError as error:
        raise UserError(f"folder:{root} cannot be read: {error.strerror}") from error
    known = {file.label for file in files if file.split == "train"}
    strange = sorted({f"{given[file.split].name}/{file.label}" for file in files if file.label not in known})
    if strange:
        raise UserError(f"folder:{root}: {given['train'].name} has no class {', '.join(strange[:3])}: add or remove it")
    return Layout(files, outside, others, tuple(given), tuple(sorted(labels)), nested)


def _given_splits(root: Path, folders: list[Path]) -> dict[str, Path]:
    """Split -> its folder; empty if the folders are classes."""
    named = {folder: _SPLIT_NAMES[folder.name.lower()] for folder in folders if folder.name.lower() in _SPLIT_NAMES}
    splits = set(named.values())
    whole = len(named) == len(folders)
    names = ", ".join(folder.name for folder in named)
    rest = ", ".join(sorted({folder.name for folder in folders} - {folder.name for folder in named})[:3])
    if not named or (not whole and len(splits) < 2):  # such as a class of trains beside one of planes
        if any(_classes(folder) for folder in named):
            raise UserError(
                f"folder:{root} holds {names}, with folders in it, beside {rest}: if it is a split, give splits alone; "
                "if it is a class, rename it"
            )
        return {}
    if not whole:
        raise UserError(f"folder:{root} holds the splits {names} beside {rest}: give it splits alone, or classes alone")
    if len(splits) < len(named):
        raise UserError(f"folder:{root} holds {names}, several of which mean the same split: join them")
    nested = {folder for folder in named if _classes(folder)}
    if len(named) == 1 and not nested:
        return {}
    if "train" not in splits:
        raise UserError(
            f"folder:{root} holds {names} and no train: add the training images, or give one folder per class"
        )
    if nested and len(nested) < len(named):
        empty = ", ".join(folder.name for folder in named if folder not in nested)
        raise UserError(
            f"folder:{root} is split, and {empty} holds no folders: put its images into one folder per class"
        )
    found = {split: folder for folder, split in named.items()}
    return {split: found[split] for split in SPLITS if split in found}


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, by name."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    folders = [path for path in entries if path.is_dir()]
    return folders, [path for path in entries if not path.is_dir()]


def _classes(folder: Path) -> list[Path]:
    """The folders in a folder that hold something, hidden files aside."""
    folders = _entries(folder)[0]
    return [inner for inner in folders if any(not path.name.startswith(".") for path in inner.iterdir())]


def _files(paths: list[Path], others: list[Path]) -> list[Path]:
    """The files among paths; what is no file is added to `others`: reading a named pipe would wait for ever."""
    files = []
    for path in paths:
        (files if path.is_file() else others).append(path)
    return files


def _walk(folder: Path, others: list[Path]) -> list[Path]:
    """The files below a folder. What is no file is added to `others`, and links to folders too: they may go round."""
    found: list[Path] = []
    for directory, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        others += [path for path in (Path(directory, name) for name in subfolders) if path.is_symlink()]
        found += _files([Path(directory, name) for name in sorted(names) if not name.startswith(".")], others)
    return found
