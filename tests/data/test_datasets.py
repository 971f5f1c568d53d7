from __future__ import annotations

import dataclasses
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from study.config import TrialConfig, UserError
from study.data import datasets
from study.data.arrays import from_arrays
from study.data.datasets import DATASETS, load_dataset


def write_idx(path: Path, array: np.ndarray) -> None:
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    path.write_bytes(header + array.tobytes())


def write_mnist(root: Path, folder: str = "MNIST", train: int = 120, test: int = 20) -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for prefix, count in {"train": train, "t10k": test}.items():
        write_idx(raw / f"{prefix}-images-idx3-ubyte", generator.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return raw


def test_digits() -> None:
    data = load_dataset("digits")
    assert [len(data.split(name)) for name in ("train", "validation", "test")] == [1077, 360, 360]
    assert data.train.images.dtype == torch.uint8
    assert data.summary.shape == (1, 8, 8)
    assert (int(data.train.images.min()), int(data.train.images.max())) == (0, 255)
    assert data.summary.total_variance == pytest.approx(4.65, abs=0.01)
    for split in (data.train, data.validation, data.test):
        assert torch.bincount(split.labels).min() > 0.9 * len(split) / 10
    assert data.summary.hash == load_dataset("digits").summary.hash
    assert TrialConfig.from_params(data.summary.defaults) == TrialConfig()
    with pytest.raises(ValueError, match="validation"):
        data.split("val")


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_layout(tmp_path: Path, name: str, folder: str) -> None:
    raw = write_mnist(tmp_path, folder)
    data = load_dataset(name, tmp_path, download=False)
    assert [len(data.train), len(data.validation), len(data.test)] == [100, 20, 20]
    official = np.frombuffer((raw / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    assert np.array_equal(data.test.images.numpy().ravel(), official)
    assert dataclasses.astuple(data.summary)[1:4] == (1, 28, 28)


def test_real_mnist(mnist_dir: Path) -> None:
    started = time.perf_counter()
    data = load_dataset("mnist", mnist_dir, download=False)
    assert time.perf_counter() - started < 5
    assert [len(data.train), len(data.validation), len(data.test)] == [50_000, 10_000, 10_000]
    assert data.summary.total_variance == pytest.approx(52.7, abs=0.1)
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.summary.hash == "1185e75940758aa7a415be4aa97363cb"


def test_mnist_on_disk_is_read_without_torchvision_and_torchs_compiler(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    code = (
        "import sys; from study.data.datasets import load_dataset; load_dataset('mnist', sys.argv[1], download=False); "
        "assert not {'torchvision', 'torch._dynamo'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.parametrize("damage", [lambda content: content[:-5], lambda content: content[:2], lambda content: b"text"])
def test_damaged_idx(tmp_path: Path, damage) -> None:
    file = write_mnist(tmp_path) / "train-images-idx3-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match="damaged"):
        load_dataset("mnist", tmp_path, download=False)


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "digits"])
def test_missing_and_no_network(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "none"
    with pytest.raises(UserError, match=rf"missing in {directory}.*--data-dir"):
        load_dataset(name, directory, download=False)
    monkeypatch.setattr(datasets, "_unreachable", lambda urls: "no network")
    with pytest.raises(UserError, match=rf"missing in {directory}.*no network.*--data-dir"):
        load_dataset(name, directory)
    assert not directory.exists()


def test_failed_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    class Broken:
        mirrors = ("http://127.0.0.1:9/",)

        def __init__(self, root: str, download: bool) -> None:
            (Path(root) / "MNIST").mkdir()
            (Path(root) / "MNIST" / "half").write_text("half a file")
            raise RuntimeError("Error downloading\nfrom mirror")

    monkeypatch.setattr(torchvision.datasets, "MNIST", Broken)
    monkeypatch.setattr(datasets, "_unreachable", lambda urls: None)
    with pytest.raises(UserError, match="Error downloading from mirror"):
        load_dataset("mnist", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_download_moves_complete_files_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    class Source:
        mirrors = ("http://127.0.0.1:9/",)

        def __init__(self, root: str, download: bool) -> None:
            (write_mnist(Path(root)) / "archive.gz").write_text("not needed any more")

    monkeypatch.setattr(torchvision.datasets, "MNIST", Source)
    monkeypatch.setattr(datasets, "_unreachable", lambda urls: None)
    assert len(load_dataset("mnist", tmp_path / "data").train) == 100
    assert len(list((tmp_path / "data").rglob("*.gz"))) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_unreachable_says_why() -> None:
    assert "refused" in str(datasets._unreachable(["http://127.0.0.1:9/"]))


@pytest.mark.parametrize("name", ["nope", "folder:", "", "folder"])
def test_unknown_name_lists_the_choices(name: str) -> None:
    with pytest.raises(UserError, match=r"digits, mnist, fashion_mnist, cifar10, or folder:PATH"):
        load_dataset(name)


def test_to_moves_every_split() -> None:
    data = load_dataset("digits").to("meta")
    assert {split.images.device.type for split in (data.train, data.validation, data.test)} == {"meta"}


@pytest.mark.parametrize(("images", "held_out"), [(50, 10), (250, 50)])
def test_faults_met_too_few_images_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, images: int, held_out: int
) -> None:
    for index in range(images):
        path = tmp_path / f"class-{index % 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), index).save(path)
    data = load_dataset(f"folder:{tmp_path}")
    expected = (f"folder:{tmp_path}: only 10 images to measure with: trust no score of samples",)
    assert len(data.test) == held_out and data.notes == (expected if images == 50 else ())
    assert all(note in caplog.text for note in data.notes)


def test_faults_met_constant_images_are_refused(tmp_path: Path) -> None:
    for index in range(20):
        path = tmp_path / f"class-{index % 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 99).save(path)
    with pytest.raises(UserError, match="all training images are the same"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("images", "side", "least"), [(100, 8, 750), (100, 32, 1_500), (1_000, 32, 1_500), (2_600, 32, 1_500)]
)
def test_small_sets_get_enough_steps(images: int, side: int, least: int) -> None:
    """The fewest epochs with so many steps, but at least 60 where there are so few images."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side), dtype=np.uint8)
    summary = from_arrays(pixels).summary
    epochs, batch = (int(summary.defaults[name]) for name in ("epochs", "batch_size"))
    steps = summary.train_size // min(batch, summary.train_size)
    assert epochs * steps >= least
    assert epochs == 60 or (epochs - 1) * steps < least
