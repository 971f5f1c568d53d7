from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.config import UserError
from study.data.datasets import load_dataset

BYTES = np.random.default_rng(0).integers(0, 256, (300, 8, 10), np.uint8)
LABELS = np.arange(300) % 3
TRAIN, TEST = slice(0, 240), slice(240, 300)


def load(path: Path, **arrays: Any) -> Any:
    np.savez(path / "own.npz", **arrays)
    return load_dataset(f"npz:{path / 'own.npz'}")


@pytest.mark.parametrize(
    ("keys", "sizes"),
    [
        ({"images": slice(None)}, [180, 60, 60]),
        ({"x": slice(None), "y": slice(None)}, [180, 60, 60]),
        ({"faces": slice(None)}, [180, 60, 60]),  # whatever a single array is called
        ({"x_train": TRAIN, "y_train": TRAIN, "x_test": TEST, "y_test": TEST}, [192, 48, 60]),
        ({"train_images": TRAIN, "train_labels": TRAIN, "val_images": TEST, "val_labels": TEST}, [192, 60, 48]),
    ],
)
def test_names_of_arrays_that_are_known(tmp_path: Path, keys: dict[str, slice], sizes: list[int]) -> None:
    arrays = {key: (LABELS if "y" in key or "labels" in key else BYTES)[rows] for key, rows in keys.items()}
    data = load(tmp_path, **arrays)
    assert data.name == f"npz:{tmp_path / 'own.npz'}"
    assert [len(data.train), len(data.validation), len(data.test)] == sizes
    assert data.summary.num_classes == (3 if len(keys) > 1 else 1)
    assert any(f"took {', '.join(keys)}" in note for note in data.notes)
    if len(keys) > 1 and "x_test" in keys:
        assert (data.test.images[:, 0].numpy() == BYTES[TEST]).all()


def test_classes_range_and_what_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        data = load(
            tmp_path, images=BYTES / 127.5 - 1, labels=LABELS, classes=["a", "b", "c"], value_range=(-1, 1), ids=1
        )
    assert data.classes == ("a", "b", "c") and data.train.images.dtype == torch.uint8
    assert f"npz:{tmp_path}/own.npz: took images, labels, classes, value_range; left out ids" in caplog.text


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": BYTES, "b": BYTES}, r"no images under a name that is known \(a, b\): use images and labels"),
        ({"images": BYTES, "x_train": BYTES}, r"more than one set of images \(images, x_train\)"),
        ({"x_test": BYTES, "y_test": LABELS}, r"no images under a name that is known \(x_test, y_test\)"),
        ({}, "no images"),
        ({"images": BYTES / 1.0}, r"look like 0 to 255: add an array value_range=\(0, 255\) to the file"),
        ({"images": np.array([None, "a"])}, "array images cannot be read: it holds Python objects; save numbers"),
        ({"images": BYTES, "labels": LABELS[:9]}, "300 images and 9 labels"),
    ],
)
def test_a_file_that_is_not_clear(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, **arrays)
    assert str(caught.value).startswith(f"npz:{tmp_path / 'own.npz'}") and "\n" not in str(caught.value)


def test_npy_is_images_without_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", BYTES)
    data = load_dataset(f"npy:{tmp_path / 'own.npy'}")
    assert data.name == f"npy:{tmp_path / 'own.npy'}" and data.summary.num_classes == 1
    np.save(tmp_path / "own.npy", BYTES.astype(np.float32))
    with pytest.raises(UserError, match=r"numpy.savez\(file, images=..., value_range=\(0, 255\)\) and use npz:FILE"):
        load_dataset(f"npy:{tmp_path / 'own.npy'}")


def test_the_same_content_has_the_same_hash_wherever_it_lies(tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", BYTES)
    (tmp_path / "other").mkdir()
    hashes = {load(tmp_path, images=BYTES).summary.hash, load(tmp_path / "other", faces=BYTES).summary.hash}
    assert hashes == {load_dataset(f"npy:{tmp_path / 'own.npy'}").summary.hash}


class _Evil:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize("kind", ["npz", "npy"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no file of arrays"),
        (b"not arrays at all", "no file of arrays"),
        (b"PK\x03\x04broken", "no file of arrays"),
        (b"\x93NUMPY\x01\x00broken", "no file of arrays"),
        (pickle.dumps(_Evil()), "no file of arrays: it holds Python objects"),
        (None, "is not a file"),
    ],
)
def test_security_a_damaged_or_foreign_file(tmp_path: Path, kind: str, content: bytes | None, message: str) -> None:
    path = tmp_path / f"own.{kind}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(f"{kind}:{path}")
    assert "\n" not in str(caught.value)


def test_a_file_of_the_other_kind_and_a_torn_one(tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", BYTES)
    np.savez_compressed(tmp_path / "own.npz", images=BYTES)
    with pytest.raises(UserError, match=f"use npy:{tmp_path / 'own.npy'}"):
        load_dataset(f"npz:{tmp_path / 'own.npy'}")
    with pytest.raises(UserError, match=f"use npz:{tmp_path / 'own.npz'}"):
        load_dataset(f"npy:{tmp_path / 'own.npz'}")
    content = bytearray((tmp_path / "own.npz").read_bytes())
    content[200:300] = bytes(100)
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(UserError, match="array images cannot be read"):
        load_dataset(f"npz:{tmp_path / 'own.npz'}")
