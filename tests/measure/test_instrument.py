"""Feature networks: trained on the training split alone, deterministic, cached; and functions of the user's own."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from study.config import UserError
from study.data.datasets import ImageData
from study.data.splits import Split
from study.measure.comparison import fid
from study.measure.features import Architecture
from study.measure.instrument import (
    FAMILIES,
    check_name,
    families,
    instrument,
    network_spec,
    other_instrument,
    second_families,
    trained_instrument,
    usual_specs,
)
from study.measure.network_training import NetworkSpec, Task, contrastive_loss
from study.measure.own_networks import CustomInstrument, Places
from tests.helpers import made_summary

SMALL = NetworkSpec(FAMILIES["classes"], Architecture("perceptron", (16,), 0, 8), (1, 2), 2_000, 3e-3)


@pytest.mark.parametrize(
    ("channels", "side", "classes", "names"),
    [
        (1, 28, 10, ["classes", "contrast"]),
        (3, 32, 10, ["contrast", "classes"]),
        (3, 8, 10, ["classes", "contrast"]),
        (3, 32, 1, ["contrast"]),
        (1, 28, 0, ["contrast"]),
    ],
)
def test_grey_and_tiny_images_are_measured_by_classes_first(
    channels: int, side: int, classes: int, names: list[str]
) -> None:
    summary = made_summary(channels=channels, height=side, width=side)
    assert families(dataclasses.replace(summary, num_classes=classes)) == names


@pytest.mark.parametrize(
    ("first", "second"), [("classes", "contrast"), ("contrast", "classes"), ("imagenet", "classes"), ("a:b", "classes")]
)
def test_a_resumed_study_of_colour_images_finds_its_second_network(first: str, second: str) -> None:
    summary = made_summary(channels=3, height=32, width=32)
    assert second_families(first, summary)[0] == second
    assert usual_specs(first, summary)[1] == network_spec(FAMILIES[second], summary, networks=1)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_trained_once_and_gives_unit_features(name: str, digits: ImageData, cache: Path) -> None:
    found = instrument(name, digits, cache)
    assert instrument(name, digits, cache).hash == found.hash
    assert (found.accuracy or 1) >= 0.95 and (found.accuracy is None) == (not FAMILIES[name].classes)
    spec = network_spec(FAMILIES[name], digits.summary)
    networks, size = len(spec.seeds), spec.architecture.features
    features = pickle.loads(pickle.dumps(found)).build(digits.summary, "cpu")(digits.test.images.float() / 255)
    assert features.shape == (360, size * networks) and not features.requires_grad
    torch.testing.assert_close(features.unflatten(1, (networks, size)).norm(dim=2), torch.ones(360, networks))


@pytest.mark.parametrize("task", [*FAMILIES.values(), Task(classes=True), Task(contrast=True)])
def test_networks_are_the_same_whatever_threads_and_global_seed(task: Task, digits: ImageData, tmp_path: Path) -> None:
    spec = dataclasses.replace(SMALL, task=task)
    hashes = set()
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            torch.manual_seed(number)
            before = torch.get_rng_state()
            hashes.add(trained_instrument("a", spec, digits, tmp_path / str(number)).hash)
            assert torch.equal(torch.get_rng_state(), before)
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert len(hashes) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_never_learn_from_validation_or_test(name: str, digits: ImageData, tmp_path: Path) -> None:
    spec = dataclasses.replace(SMALL, task=FAMILIES[name])
    noise = Split(255 - digits.validation.images, digits.validation.labels.flip(0))
    poisoned = dataclasses.replace(digits, validation=noise, test=noise)
    found = [trained_instrument("a", spec, data, tmp_path / way) for way, data in (("a", digits), ("b", poisoned))]
    assert found[0].hash == found[1].hash


def test_every_part_of_the_spec_decides_the_cache_file(digits: ImageData, tmp_path: Path) -> None:
    changes = [{}, {"task": Task(classes=True)}, {"architecture": Architecture("perceptron", (8,), 0, 8)}]
    for change in (*changes, {"seeds": (1, 3)}, {"images": 1_000}, {"learning_rate": 1e-3}, {"version": 2}):
        trained_instrument("a", dataclasses.replace(SMALL, **change), digits, tmp_path)
    assert len(list(tmp_path.iterdir())) == 7


def test_contrast_hardly_matters_and_broken_images_do(digits: ImageData, cache: Path) -> None:
    """What the classifier of version 0.1 had the other way round: dimmed digits scored four times the best model."""
    features = instrument("classes", digits, cache).build(digits.summary, "cpu")

    def score(images: torch.Tensor) -> float:
        return fid(
            *(features(of).numpy().astype(np.float64) for of in (digits.validation.images.float() / 255, images))
        )

    real = digits.train.images.float() / 255
    halves = real.clone()
    halves[:, :, 4:] = real.flip(0)[:, :, 4:]
    assert score(real) < score(0.75 * real) < score(halves) / 5


def test_the_contrastive_loss_is_least_for_views_that_find_each_other() -> None:
    codes = torch.eye(8)
    matched = contrastive_loss(codes, codes)
    assert matched < contrastive_loss(codes, codes.roll(1, 0))
    assert float(matched) == pytest.approx(-np.log(np.exp(5) / (np.exp(5) + 14)), rel=1e-5)


def test_the_other_network_is_another(digits: ImageData, cache: Path) -> None:
    other, spec = other_instrument(digits, cache).spec, network_spec(FAMILIES["contrast"], digits.summary)
    assert other.architecture != spec.architecture and not set(other.seeds) & set(spec.seeds)
    assert not other.task.classes


def test_a_function_of_the_users_own(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    source = tmp_path / "my_features.py"
    functions = {"pixels": "x.flatten(1)", "half": "x.flatten(1).bfloat16()", "wrong": "x"}
    lines = [f"def {name}(x):\n    return {value}\n" for name, value in functions.items()]
    source.write_text("\n".join([*lines, "number = 3\n"]))
    monkeypatch.syspath_prepend(tmp_path)
    found = instrument("my_features:pixels", digits, cache)
    assert isinstance(found, CustomInstrument) and found.accuracy is None
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(found.build(digits.summary, "cpu")(x), x.flatten(1))
    assert instrument("my_features:pixels", digits, cache).hash == found.hash
    assert instrument("my_features:wrong", digits, cache).hash != found.hash
    half = instrument("my_features:half", digits, cache).build(digits.summary, "cpu")(x)
    assert half.dtype == torch.float32
    with pytest.raises(UserError, match=r"returns \(4, 1, 8, 8\): return a tensor \[4, d\]"):
        instrument("my_features:wrong", digits, cache).build(digits.summary, "cpu")(x)
    with pytest.raises(UserError, match="number is no function"):
        check_name("my_features:number", digits.summary)


def test_a_function_is_found_beside_the_space_then_on_the_path_then_in_the_working_directory(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    for number, folder in enumerate(("beside", "here", "path"), start=1):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "found_features.py").write_text(f"def f(x):\n    return x.flatten(1)[:, :{number}]\n")
    places = Places(beside=tmp_path / "nowhere", here=tmp_path / "here")

    def width(where: Places) -> int:
        found = pickle.loads(pickle.dumps(instrument("found_features:f", digits, cache, places=where)))
        return found.build(digits.summary)(torch.rand(4, 1, 8, 8)).shape[1]

    assert width(places) == 2
    monkeypatch.syspath_prepend(tmp_path / "path")
    assert width(places) == 3
    assert width(places._replace(beside=tmp_path / "beside")) == 1


OWN_NETWORK = """
import study


def rows(x):
    %s
    return x.mean(dim=3).flatten(1)


SPACE = study.SearchSpace(
    question="?",
    suggest=lambda trial, data: {},
    components=(study.FeatureNetwork(name="rows", function=rows),),
)
"""


def test_a_network_that_a_space_brings(digits: ImageData, tmp_path: Path, cache: Path) -> None:
    space = tmp_path / "space.py"
    space.write_text(OWN_NETWORK % "pass")
    found = instrument("rows", digits, cache, places=Places(code=space))
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(pickle.loads(pickle.dumps(found)).build(digits.summary)(x), x.mean(dim=3).flatten(1))
    assert found.summary()["name"] == "rows" and len(found.hash) == 24
    with pytest.raises(UserError, match="choose from rows, classes, contrast, imagenet"):
        check_name("row", digits.summary, Places(code=space))
    space.write_text(OWN_NETWORK % "x = 1 - x")
    assert instrument("rows", digits, cache, places=Places(code=space)).hash != found.hash
    space.write_text(OWN_NETWORK % "raise ValueError('my own fault')")
    with pytest.raises(UserError, match=r"space\.py, line 6: ValueError: my own fault"):
        check_name("rows", digits.summary, Places(code=space))


@pytest.mark.parametrize(
    ("name", "classes", "words"),
    [
        ("clases", 10, "choose from classes, contrast, imagenet, or give module:function"),
        ("no_such_module:f", 10, "no module no_such_module in .* among the installed"),
        ("torch:no_such_function", 10, "no_such_function"),
        ("classes", 1, "two classes or more"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_line(name: str, classes: int, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        check_name(name, dataclasses.replace(made_summary(), num_classes=classes))
    assert "--feature-network" in str(caught.value) and "\n" not in str(caught.value)
