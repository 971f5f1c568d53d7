"""A folder of images as it was read, kept beside the studies: the next start reads one file in place of all of them.

The file is named by the paths, sizes and times of all that the folder holds, among them the time at which the file
system last changed a file, which nobody can set back: whatever happens to a file, the name is another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import zipfile
import zlib
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image

from study.data.folder_layout import Layout
from study.data.image_data import SPLITS, ImageData, Loaded
from study.data.splits import Split

logger = logging.getLogger(__name__)

MOST_BYTES = 2**31
"""Larger sets are not kept, since that takes as much disk again."""
_VERSION = 1
_DAMAGED = (OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


def kept_path(cache: Path, root: Path, layout: Layout, side: int | None) -> Path:
    """The file that keeps a folder's images.

    Args:
        cache: The folder of what studies share.
        root: The folder of images.
        layout: What it holds.
        side: As of `read_folder`.
    """
    what = [
        _VERSION,
        PIL.__version__,
        sorted(Image.registered_extensions()),
        layout.given,
        layout.labels,
        layout.nested,
    ]
    digest = hashlib.blake2b(json.dumps(what).encode(), digest_size=16)
    for path in (*(file.path for file in layout.files), *layout.outside, *layout.others):
        try:
            found = os.stat(path)
            state = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        except OSError:  # a link that leads nowhere
            state = ()
        digest.update(f"{os.fspath(path)}\0{state}\0".encode(errors="surrogateescape"))
    place = hashlib.blake2b(json.dumps([str(root), side]).encode(), digest_size=8).hexdigest()
    return cache / f"folder-{place}-{digest.hexdigest()}.npz"


def least_images(layout: Layout) -> int:
    """How many images a folder must give to be kept: a file that looks like an image may be read the next time."""
    known = Image.registered_extensions()
    return sum(file.path.suffix.lower() in known for file in layout.files)


def read_kept(path: Path) -> Loaded | None:
    """What `keep` wrote; None if there is no such file, or if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:  # which notices a flipped bit
            train, validation, test = (
                Split(torch.from_numpy(file[f"{split}_images"]), torch.from_numpy(file[f"{split}_labels"]))
                for split in SPLITS
            )
            said = json.loads(file["said"].tobytes())
        return Loaded(train, validation, test, tuple(said["classes"]), tuple(said["notes"]))
    except FileNotFoundError:
        return None
    except _DAMAGED as error:
        logger.warning("%s cannot be read (%s), so the images are read again", path, error)
        return None


def keep(data: ImageData) -> None:
    """Keeps a folder's images where `kept_path` said, in place of what it held before, unless they are too large."""
    path, splits = data.kept, [data.split(name) for name in SPLITS]
    if path is None or sum(split.images.nbytes for split in splits) > MOST_BYTES:
        return
    notes = [note.removeprefix(f"{data.name}: ") for note in data.notes]
    said = json.dumps({"classes": data.classes, "notes": notes}).encode()  # as ASCII, whatever is in the names
    arrays = {"said": np.frombuffer(said, np.uint8)}
    for name, split in zip(SPLITS, splits, strict=True):
        arrays |= {f"{name}_images": split.images.cpu().numpy(), f"{name}_labels": split.labels.cpu().numpy()}
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        for earlier in path.parent.glob(f"{path.name.rpartition('-')[0]}-*.npz"):
            if earlier != path:
                earlier.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be written (%s), so the images are read again next time", path, error.strerror)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
