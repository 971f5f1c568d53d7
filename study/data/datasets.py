"""The data sets that a study can run on, as uint8 tensors in memory.

To add one, write a loader `(directory, download) -> Loaded` and name it in `DATASETS` at the end of this file.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import socket
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from study.config import DataSummary, Params, UserError
from study.data.folder import load_folder
from study.data.splits import Split, content_hash, three_way, total_variance

logger = logging.getLogger(__name__)

_HELD_OUT = 10_000
"""Images in the validation split of a large data set."""
FEW_IMAGES = 50
"""With fewer held-out images scores of samples are noise, and the user is told so."""
_PROBE_SECONDS = 6.0


@dataclass(frozen=True)
class ImageData:
    """A data set in its three splits.

    Attributes:
        name: A name in `DATASETS`, or `folder:` and an absolute path.
        train: Models and the feature network are trained on it.
        validation: Search and early stopping see it.
        test: Used once, at the end of a trial.
        classes: Names of the labels, in order.
        summary: Sizes, hash, variance and suitable trial parameters.
        notes: What the user should know of it, one line each.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    summary: DataSummary
    notes: tuple[str, ...] = ()

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
    """What a loader returns: the three splits and the class names."""

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]


Loader = Callable[[Path, bool], Loaded]


def load_dataset(name: str, data_dir: Path | None = None, *, download: bool = True) -> ImageData:
    """Loads a data set. Downloads it if it is missing and `download` allows it.

    Args:
        name: A name in `DATASETS`, or `folder:PATH`.
        data_dir: The folder of downloaded data, in torchvision's layout (`DIR/MNIST/raw`). By default `data/` in the
            current folder.
        download: Whether missing data may be downloaded.

    Raises:
        UserError: The name is unknown, the data are missing and cannot be downloaded, files are damaged, or a folder
            holds no usable images.
    """
    directory = Path("data" if data_dir is None else data_dir).expanduser().absolute()
    kind, _, path = name.partition(":")
    notes: tuple[str, ...] = ()
    if kind == "folder" and path:
        root = Path(path).expanduser().absolute()
        loaded, notes = _load_folder(root)
        name = f"folder:{root}"
    elif name in DATASETS:
        loaded = DATASETS[name](directory, download)
    else:
        raise UserError(f"no data set {name!r}: choose from {', '.join(DATASETS)}, or folder:PATH")
    splits = (loaded.train, loaded.validation, loaded.test)
    variance = total_variance(loaded.train.images)
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
    held_out = min(len(loaded.validation), len(loaded.test))
    if held_out < FEW_IMAGES:
        few = f"{name}: only {held_out} images to measure with: trust no score of samples and no recommendation"
        logger.warning("%s", few)
        notes = (*notes, few)
    return ImageData(name, *loaded, summary, notes)


def _load_folder(root: Path) -> tuple[Loaded, tuple[str, ...]]:
    """The splits that a folder gives; those it lacks are cut from its training images, a fifth of these each."""
    found = load_folder(root)
    train = found.parts["train"]
    held_out = min(_HELD_OUT, max(1, len(train) // 5))
    missing = [name for name in ("validation", "test") if name not in found.given]
    sizes = [held_out * (name in missing) for name in ("validation", "test")]
    parts = dict(found.parts)
    if missing:
        cut = zip(("train", "validation", "test"), three_way(train, *sizes), strict=True)
        parts = {name: part if name == "train" or name in missing else parts[name] for name, part in cut}
    notes = found.notes
    if found.given:
        cut_off = f"; {' and '.join(missing)} cut from train" if missing else ""
        counts = ", ".join(f"{name} {len(parts[name])}" for name in parts)
        notes = (f"splits given: {', '.join(found.given)}{cut_off} ({counts} images)", *notes)
    notes = tuple(f"folder:{root}: {note}" for note in notes)
    for note in notes:
        logger.warning("%s", note)
    return Loaded(parts["train"], parts["validation"], parts["test"], found.classes), notes


def _defaults(channels: int, height: int, width: int, train_size: int) -> Params:
    """Trial parameters by image size. Small sets get more epochs, so that all take about as many steps."""
    if channels * height * width <= 16 * 16:
        return {"network": "mlp", "width": 128, "batch_size": 64, "learning_rate": 2e-3, "epochs": 60}
    epochs = min(60, max(10, round(200_000 / train_size)))
    shared: Params = {"batch_size": 128 if train_size >= 10_000 else 64, "learning_rate": 1e-3, "epochs": epochs}
    if channels == 1 and height * width <= 32 * 32:
        return {"network": "mlp", "width": 512, **shared}
    return {"network": "conv", "width": 32, **shared}


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
        train, validation, _ = three_way(train, min(_HELD_OUT, len(train) // 6), 0)
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
    train, validation, _ = three_way(train, _HELD_OUT, 0)
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
"""Loaders by name. `study.data.folder` reads `folder:PATH`."""
