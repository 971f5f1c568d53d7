from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from study.config import UserError
from study.data.arrays import from_arrays

BYTES = np.random.default_rng(0).integers(0, 256, (260, 8, 10), np.uint8)


class Items(Dataset):
    """Items made by a function."""

    def __init__(self, make: Callable[[int], Any], count: int = 260) -> None:
        self.make, self.count = make, count
        self.classes: list[str] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


class Stream(IterableDataset):
    """Items one after another."""

    def __init__(self, length: int | None, gives: int = 260) -> None:
        self.length, self.gives = length, gives

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return ((torch.from_numpy(BYTES[index]), index % 2) for index in range(self.gives))


TENSOR = torch.from_numpy(BYTES)[:, None]
ALIKE = [
    Items(lambda i: (BYTES[i], i % 2)),
    Items(lambda i: (Image.fromarray(BYTES[i]), torch.tensor(i % 2))),
    Items(lambda i: (TENSOR[i].float() / 255, i % 2)),  # as torchvision's ToTensor gives it
    TensorDataset(TENSOR, torch.arange(260) % 2),
    Subset(TensorDataset(TENSOR, torch.arange(260) % 2), range(260)),
    Stream(260),
]


@pytest.mark.parametrize("dataset", ALIKE, ids=lambda dataset: type(dataset).__name__)
def test_a_dataset_is_what_its_arrays_are(dataset: Any) -> None:
    expected = from_arrays(BYTES, np.arange(260) % 2)
    found = from_arrays(dataset)
    assert (found.summary.hash, found.classes, found.notes) == (expected.summary.hash, ("0", "1"), ())


def test_images_alone_have_no_labels_and_classes_keep_their_names() -> None:
    assert from_arrays(Items(lambda i: TENSOR[i])).summary.num_classes == 1
    named = Items(lambda i: (TENSOR[i], i % 2))
    named.classes = ["cat", "dog"]  # as torchvision's data sets have them
    assert from_arrays(named, test=Items(lambda i: (TENSOR[i], i % 2), 9)).classes == ("cat", "dog")


def test_random_transforms_are_told() -> None:
    data = from_arrays(Items(lambda i: torch.rand(1, 8, 8)))
    assert "arrays: images: the dataset gives another image each time (random transforms)" in data.notes[0]


@pytest.mark.parametrize(
    ("dataset", "labels", "message"),
    [
        (Stream(None), None, "without a length may be endless"),
        (Stream(261), None, "has a length of 261 and gives 260 images"),
        (Items(lambda i: TENSOR[i], 0), None, "the dataset is empty"),
        (Items(lambda i: TENSOR[i][..., : 10 - (i == 5)]), None, r"item 5 is of shape \(1, 8, 9\)"),
        (Items(lambda i: {"image": 0}), None, "item 0 is of type dict: give images, or pairs"),
        (Items(lambda i: TENSOR[i]), np.zeros(260), "a dataset brings its own labels"),
        (Items(lambda i: (TENSOR[i], torch.rand(4))), None, "one per image"),
    ],
)
def test_what_is_no_finite_set_of_images(dataset: Any, labels: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        from_arrays(dataset, labels)
    assert "\n" not in str(caught.value)
