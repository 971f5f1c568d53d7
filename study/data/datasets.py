"""The data sets that a study can run on, as tensors in memory.

To add one, write a loader `(directory, download) -> Loaded` and name it in `DATASETS` at the end of this file.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from study.config import UserError
from study.data.array_files import load_npy, load_npz
from study.data.folder import load_folder
from study.data.folder_layout import read_layout
from study.data.image_data import HELD_OUT, SPLITS, ImageData, Loaded, assemble
from study.data.kept_folder import kept_path, least_images, read_kept
from study.data.splits import Split, three_way

_PROBE_SECONDS = 6.0


Loader = Callable[[Path, bool], Loaded]


def load_dataset(
    name: str,
    data_dir: Path | None = None,
    *,
    download: bool = True,
    image_size: int | None = None,
    cache: Path | None = None,
) -> ImageData:
    """Loads a data set. Downloads it if it is missing and `download` allows it.

    Args:
        name: A name in `DATASETS`, or a kind in `READERS` and a path, such as `folder:PATH`.
        data_dir: The folder of downloaded data, in torchvision's layout (`DIR/MNIST/raw`). By default `data/` in the
            current folder.
        download: Whether missing data may be downloaded.
        image_size: Pixels of each side that the images of a folder get; by default what suits most of them.
        cache: Where a folder's images may be kept, see `study.data.kept_folder`. They are looked for there; only `keep`
            writes.

    Raises:
        UserError: The name is unknown, the data are missing and cannot be downloaded, files are damaged, a user's own
            data cannot be used as they are, or only a folder's images could be resized.
    """
    directory = Path("data" if data_dir is None else data_dir).expanduser().absolute()
    kind, _, path = name.partition(":")
    if image_size is not None and kind != "folder":
        raise UserError(f"--image-size: the images of {name} keep their size; only those of folder:PATH can be resized")
    if kind in READERS and path:
        file = Path(path).expanduser().absolute()
        if kind == "folder":
            return _folder(file, image_size, cache)
        return assemble(f"{kind}:{file}", READERS[kind](file))
    if name not in DATASETS:
        own = ", ".join(f"{kind}:PATH" for kind in READERS)
        raise UserError(f"no data set {name!r}: choose from {', '.join(DATASETS)}, or {own}")
    return assemble(name, DATASETS[name](directory, download))


def _folder(root: Path, side: int | None, cache: Path | None) -> ImageData:
    """The images of a folder, from the cache or from their files."""
    name, layout = f"folder:{root}", read_layout(root)
    kept = None if cache is None else kept_path(cache, root, layout, side)
    found = None if kept is None else read_kept(kept)
    if found is not None:
        return assemble(name, found, is_noted=True)
    data = assemble(name, load_folder(root, side, layout))
    is_whole = sum(len(data.split(each)) for each in SPLITS) >= least_images(layout)
    return dataclasses.replace(data, kept=kept if is_whole else None)


def _load_digits(directory: Path, download: bool) -> Loaded:
    """The 1,797 real 8x8 digits inside scikit-learn (pixels 0..16), in 1,077 / 360 / 360."""
    import sklearn.datasets

    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    images = torch.from_numpy(np.rint(pixels * (255 / 16)).astype(np.uint8)).reshape(-1, 1, 8, 8)
    splits = three_way(Split(images, torch.from_numpy(labels.astype(np.int64))), 360, 360)
    return Loaded(*splits, tuple("0123456789"))


def _read_idx(path: Path) -> torch.Tensor:
    """An uncompressed idx file of unsigned bytes (the format MNIST is published in).

    Raises:
        UserError: The file is truncated or of another kind.
    """
    content = path.read_bytes()
    rank = content[3] if len(content) >= 4 and content[:3] == b"\0\0\x08" else 0
    shape = tuple(np.frombuffer(content, ">i4", rank, 4).tolist()) if 4 + 4 * rank <= len(content) else ()
    if not shape or len(content) != 4 + 4 * rank + int(np.prod(shape)):
        raise UserError(f"{path} is damaged: delete {path.parent}, then run again")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape).copy())


def _load_mnist_like(folder: str, classes: Sequence[str]) -> Loader:
    """A loader for a data set in MNIST's format. The official test set is the test split."""
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

    def load(directory: Path, download: bool) -> Loaded:
        raw = directory / folder / "raw"
        if not all((raw / name).is_file() for name in names):
            _provide(folder, directory, raw, download)
        tensors = [_read_idx(raw / name) for name in names]
        train, test = (Split(tensors[i].unsqueeze(1), tensors[i + 1].long()) for i in (0, 2))
        train, validation, _ = three_way(train, min(HELD_OUT, len(train) // 6), 0)
        return Loaded(train, validation, test, tuple(classes))

    return load


def _load_cifar10(directory: Path, download: bool) -> Loaded:
    """CIFAR-10 in torchvision's layout, 40,000 / 10,000 / 10,000 images of 3x32x32."""
    import torchvision.datasets

    def read(train: bool) -> Split:
        part = torchvision.datasets.CIFAR10(str(directory), train=train)
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
        return Split(images, torch.tensor(part.targets, dtype=torch.int64))

    batches = directory / "cifar-10-batches-py"
    try:
        train = read(True)
    except RuntimeError:  # torchvision raises it for missing and for damaged files
        _provide("CIFAR10", directory, batches, download)
        train = read(True)
    train, validation, _ = three_way(train, HELD_OUT, 0)
    return Loaded(train, validation, read(False), _CIFAR10)


def _provide(torchvision_name: str, directory: Path, expected: Path, download: bool) -> None:
    """Downloads through torchvision. Files move into place only when the download is complete.

    Raises:
        UserError: Downloading is not allowed or fails. The message says where the data were expected.
    """
    state = "incomplete" if expected.exists() else "missing"
    advice = "give --data-dir, or use --dataset digits, which needs no download"
    if not download:
        raise UserError(f"{torchvision_name} is {state} in {expected}: put its files there, {advice}")
    import torchvision.datasets

    source = getattr(torchvision.datasets, torchvision_name)
    urls = getattr(source, "mirrors", None) or [source.url]
    reason = _unreachable(urls)
    if reason:
        raise UserError(f"{torchvision_name} is {state} in {expected} and cannot be downloaded ({reason}): {advice}")
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30.0)  # torchvision sets none, and a silent server would block the study for ever
    try:
        with tempfile.TemporaryDirectory(prefix=".download-", dir=existing) as scratch:
            source(scratch, download=True)
            for file in sorted(Path(scratch).rglob("*")):
                if file.is_file() and file.suffix != ".gz":
                    target = directory / file.relative_to(scratch)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _move(file, target)
    except (OSError, RuntimeError, EOFError) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(
            f"downloading {torchvision_name} to {directory} failed ({line}): try again, {advice}"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _move(source: Path, target: Path) -> None:
    """Moves a file, even to another file system, so that a reader never sees half of it."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.move(source, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _unreachable(urls: Sequence[str]) -> str | None:
    """Why no server answers within a few seconds, or None if one does. Any HTTP answer counts.

    Name look-up ignores socket timeouts, so each probe runs in a thread that may outlive this call.
    """
    reasons: list[str] = []
    answered = threading.Event()
    done = threading.Event()

    def probe(url: str) -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
                answered.set()
        except urllib.error.HTTPError as error:
            error.close()
            answered.set()
        except Exception as error:  # a proxy or resolver may raise anything
            reasons.append(str(getattr(error, "reason", error)) or type(error).__name__)
        if answered.is_set() or len(reasons) == len(urls):
            done.set()

    for url in urls:
        threading.Thread(target=probe, args=(url,), daemon=True).start()
    done.wait(_PROBE_SECONDS)
    if answered.is_set():
        return None
    return reasons[0] if reasons else f"no answer within {_PROBE_SECONDS:.0f} s"


_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FASHION = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

DATASETS: dict[str, Loader] = {
    "digits": _load_digits,
    "mnist": _load_mnist_like("MNIST", "0123456789"),
    "fashion_mnist": _load_mnist_like("FashionMNIST", _FASHION),
    "cifar10": _load_cifar10,
}
"""Loaders by name."""

READERS: dict[str, Callable[[Path], Loaded]] = {
    "folder": load_folder,
    "npz": load_npz,
    "npy": load_npy,
}
"""Readers of a user's own data, `KIND:PATH`."""
