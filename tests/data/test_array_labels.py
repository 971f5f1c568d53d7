from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from study.config import UserError
from study.data.array_labels import numbered

THREE = [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "classes", "numbers", "names"),
    [
        (THREE, None, THREE, ("0", "1", "2")),
        (torch.tensor(THREE), None, THREE, ("0", "1", "2")),
        (np.array(THREE)[:, None], None, THREE, ("0", "1", "2")),  # as in MedMNIST and CIFAR of Keras
        (np.array(THREE, np.float32), None, THREE, ("0", "1", "2")),
        ([7, -3, 7, 7, -3, -3], None, [1, 0, 1, 1, 0, 0], ("-3", "7")),
        ([True, False] * 3, None, [1, 0] * 3, ("0", "1")),
        (["dog", "cat"] * 3, None, [1, 0] * 3, ("cat", "dog")),
        (np.array(["dog", "cat"] * 3, object), None, [1, 0] * 3, ("cat", "dog")),
        (np.array([b"dog", b"cat"] * 3), None, [1, 0] * 3, ("cat", "dog")),
        (["dog", "cat"] * 3, ["dog", "cat", "fish"], [0, 1] * 3, ("dog", "cat", "fish")),
        (THREE, ["c", "b", "a"], THREE, ("c", "b", "a")),
    ],
)
def test_labels_as_they_come(labels: Any, classes: Any, numbers: list[int], names: tuple[str, ...]) -> None:
    found, found_names = numbered({"train": labels}, {"train": 6}, classes)
    assert found["train"].dtype == torch.int64
    assert (found["train"].tolist(), found_names) == (numbers, names)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ({"train": THREE, "test": None}, None, "test has no labels, the other images have"),
        ({"train": THREE, "test": [0, 3]}, None, "image 1 of test has the label '3', and train has no such label"),
        ({"train": THREE, "test": ["0", "1"]}, None, "numbers in one split and text in another"),
        ({"train": THREE}, ["a", "b"], "image 2 of train has the label '2', and there are 2 classes"),
        ({"train": THREE}, ["a", "a", "b"], "no two of them equal"),
        ({"train": THREE[:5]}, None, "train has 6 images and 5 labels"),
        ({"train": np.eye(6)}, None, r"one-hot labels, labels.argmax\(1\)"),
        ({"train": [0.5, 1, 0, 1, 0, 1]}, None, "neither whole numbers nor text"),
        ({"train": [np.nan, 1, 0, 1, 0, 1]}, None, "neither whole numbers nor text"),
        ({"train": [None] * 6}, None, "neither whole numbers nor text"),
        ({"train": range(6)}, None, "6 different values for 6 images, so they are no classes"),
    ],
)
def test_labels_that_are_no_classes(labels: dict[str, Any], classes: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        numbered(labels, {"train": 6, "test": 2}, classes)
    assert "\n" not in str(caught.value)
