"""How a folder of images is laid out: one folder per class, or the same below one folder per split."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from study.config import UserError

SPLITS = ("train", "validation", "test")
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
        label: Its class.
        split: `train`, `validation` or `test`; `train` if the folder is not split.
    """

    path: Path
    label: str
    split: str


class Layout(NamedTuple):
    """What a folder holds.

    Attributes:
        files: The files of its classes, in the order of their paths within each split.
        others: Files outside the classes, and what is no file, such as named pipes.
        given: The splits there are, in the order of `SPLITS`; none if the folder's own folders are the classes.
    """

    files: list[ImageFile]
    others: list[Path]
    given: tuple[str, ...]


def read_layout(root: Path) -> Layout:
    """Finds every file under `root/<class>/` or `root/<split>/<class>/`, also in nested folders.

    Hidden files are left out. Folders called train, training, val, valid, validation, dev, test and testing are splits
    if there is a train folder with folders in it, and no other folder.

    Raises:
        UserError: There is no such folder, it holds no class folders, or it is not clear which folders are splits.
    """
    if not root.is_dir():
        raise UserError(f"folder:{root} is not a folder: give a folder that holds one folder of images per class")
    try:
        folders, others = _entries(root)
        if not folders:
            raise UserError(f"folder:{root} holds no folders: put the images into one folder per class")
        given = _given_splits(root, folders)
        if not given:
            files = [ImageFile(path, folder.name, "train") for folder in folders for path in _walk(folder, others)]
            return Layout(files, others, ())
        files = []
        for split, folder in given.items():
            classes, strays = _entries(folder)
            others += strays
            files += [ImageFile(path, label.name, split) for label in classes for path in _walk(label, others)]
    except OSError as error:
        raise UserError(f"folder:{root} cannot be read: {error.strerror}") from error
    known = {file.label for file in files if file.split == "train"}
    strange = sorted({f"{given[file.split].name}/{file.label}" for file in files if file.label not in known})
    if strange:
        raise UserError(f"folder:{root}: {given['train'].name} has no class {', '.join(strange[:3])}: add or remove it")
    return Layout(files, others, tuple(given))


def _given_splits(root: Path, folders: list[Path]) -> dict[str, Path]:
    """Split -> its folder; empty if the folders are classes."""
    named = {folder: _SPLIT_NAMES[folder.name.lower()] for folder in folders if folder.name.lower() in _SPLIT_NAMES}
    splits = set(named.values())
    whole = len(named) == len(folders)
    if not named or (not whole and len(splits) < 2):  # such as a class of trains beside one of planes
        return {}
    names = ", ".join(folder.name for folder in named)
    if not whole:
        rest = ", ".join(sorted({folder.name for folder in folders} - {folder.name for folder in named})[:3])
        raise UserError(f"folder:{root} holds the splits {names} beside {rest}: give it splits alone, or classes alone")
    if len(splits) < len(named):
        raise UserError(f"folder:{root} holds {names}, several of which mean the same split: join them")
    nested = {folder for folder in named if _entries(folder)[0]}
    if len(named) == 1 and not nested:
        return {}
    if "train" not in splits:
        raise UserError(
            f"folder:{root} holds {names} and no train: add the training images, or give one folder per class"
        )
    if len(nested) < len(named):
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


def _walk(folder: Path, others: list[Path]) -> list[Path]:
    """The files below a folder. What is no file is added to `others`: reading a named pipe would wait for ever."""
    found: list[Path] = []
    for directory, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for path in (Path(directory, name) for name in sorted(names) if not name.startswith(".")):
            (found if path.is_file() else others).append(path)
    return found
