"""Feature networks: what FID and the other sample metrics compare images in.

Inception's features mean nothing on 28x28 digits, so each data set has networks of its own, trained once. The weights
are cached by content, and every study records their hash.

A family says what the networks are trained to tell apart. Both ignore nuisances and see broken images
(`study.measure.distortions`): without the first, a score follows contrast; without the second, it hardly sees samples
that are mixtures of images. `benchmarks.instrument` compares families as one compares instruments.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import DataSummary, UserError
from study.data.datasets import ImageData
from study.measure.cache import cached, content_key
from study.measure.features import Architecture, Classifier, halving_widths, is_tiny
from study.measure.imagenet import check_installed, weights_hash
from study.measure.network_training import NetworkSpec, Task, train_networks

Features = Callable[[Tensor], Tensor]
"""Images [B, C, H, W] in [0, 1] -> features [B, d], on the images' device."""

FAMILIES: dict[str, Task] = {
    "classes": Task(classes=True, structure=True, nuisances=True),
    "contrast": Task(contrast=True, structure=True, nuisances=True),
}
"""The families that `study.run` trains by name."""
PRETRAINED = {"imagenet": "study.measure.imagenet:features"}
"""Networks that `study.run` knows by name and does not train: name -> `module:function`."""


def network_spec(task: Task, summary: DataSummary, *, networks: int | None = None) -> NetworkSpec:
    """The networks of a data set.

    One network of tiny images moves log FID by 4 to 5 % from seed to seed, three together by less than 3 %; one network
    of larger images by 2 %. So tiny images get three, larger ones one (`benchmarks.instrument`).

    Args:
        task: What they are trained to do.
        summary: The data set's summary.
        networks: How many, if not the default.
    """
    if is_tiny(summary):
        architecture, count, rate = Architecture("perceptron", (128,), 0, 32), 3, 1e-2
    else:
        architecture, count, rate = Architecture("convolutions", halving_widths(16, summary), 5, 64), 1, 3e-3
    seeds = tuple(range(101, 101 + (networks or count)))
    return NetworkSpec(task, architecture, seeds, _images_to_see(summary), rate)


def _images_to_see(summary: DataSummary) -> int:
    """200,000 images of up to 32x32 pixels, fewer larger ones (they cost more), few of a set that holds few."""
    share = min(1.0, 32 * 32 / (summary.height * summary.width))
    return min(max(25_000, round(200_000 * share)), 200 * summary.train_size)


class FeatureNetworks(nn.Module):
    """Trained networks as one: their features, each network's divided by their length, side by side.

    Args:
        networks: Frozen classifiers.
    """

    def __init__(self, networks: list[Classifier]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self._features = [network.features for network in networks]
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, networks * features] of images [B, C, H, W] in [0, 1]."""
        return torch.cat([F.normalize(features(x), dim=1) for features in self._features], dim=1)


class Instrument(Protocol):
    """Something that turns images into features. It pickles."""

    @property
    def name(self) -> str:
        """A family, a pretrained network, or `module:function`."""
        ...

    @property
    def hash(self) -> str:
        """A hash of what decides the features."""
        ...

    @property
    def accuracy(self) -> float | None:
        """Share of the validation split that it classifies correctly; None if it knows no classes."""
        ...

    def build(self, summary: DataSummary, device: torch.device | str) -> Features:
        """The features, computed on a device."""
        ...

    def summary(self) -> dict[str, Any]:
        """What a study records of it, ready for JSON."""
        ...


@dataclass(frozen=True)
class TrainedInstrument:
    """Trained networks and where they come from.

    Attributes:
        name: The family.
        spec: What was trained.
        states: The weights of each network, on the CPU.
        hash: Content hash of the weights.
        accuracy: Share of the validation split that the networks classify correctly, on average; None without classes.
    """

    name: str
    spec: NetworkSpec
    states: tuple[dict[str, Tensor], ...]
    hash: str
    accuracy: float | None

    def build(self, summary: DataSummary, device: torch.device | str = "cpu") -> Features:
        """The networks, frozen, on a device."""
        networks = [_loaded(self.spec.architecture, summary, state) for state in self.states]
        return FeatureNetworks(networks).to(device)

    def summary(self) -> dict[str, Any]:
        """Family, networks, features, hash and accuracy."""
        return {
            "name": self.name,
            "networks": len(self.states),
            "features": len(self.states) * self.spec.architecture.features,
            "spec": content_key(asdict(self.spec)),
            "hash": self.hash,
            "accuracy": self.accuracy,
        }


@dataclass(frozen=True)
class CustomInstrument:
    """A function that is not trained here: images [B, C, H, W] in [0, 1] -> features [B, d].

    Attributes:
        name: In `PRETRAINED`, or `module:function`; every process of a study must be able to import the module.
        hash: Hash of the name, and of the module's source or the weights.
    """

    name: str
    hash: str
    accuracy: None = None

    def build(self, summary: DataSummary, device: torch.device | str = "cpu") -> Features:
        """The function, for images of this data set."""
        if self.name in PRETRAINED:
            check_installed()
        function = _imported(self.name)

        def features(x: Tensor) -> Tensor:
            found = function(x)
            if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(x):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise UserError(f"--feature-network {self.name} returns {shape}: return a tensor [{len(x)}, d]")
            return found.detach().float()

        return features

    def summary(self) -> dict[str, Any]:
        """Name and hash."""
        return {"name": self.name, "spec": self.hash, "hash": self.hash, "accuracy": None}


def instrument(name: str, data: ImageData, cache_dir: Path, *, networks: int | None = None) -> Instrument:
    """An instrument by name, from the cache or trained now, which takes seconds to minutes.

    Args:
        name: One of `FAMILIES` or `PRETRAINED`, or `module:function`.
        data: The data set.
        cache_dir: A folder that all studies share.
        networks: How many networks of a family, if not the default.

    Raises:
        UserError: The module or its function cannot be imported, or `imagenet` is not installed.
    """
    if name in FAMILIES:
        spec = network_spec(FAMILIES[name], data.summary, networks=networks)
        return trained_instrument(name, spec, data, cache_dir)
    if name in PRETRAINED:
        return CustomInstrument(name, content_key(name, weights_hash()))
    function = _imported(name)
    try:
        source = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):  # compiled, or made at run time
        source = name
    return CustomInstrument(name, content_key(name, source))


def other_instrument(data: ImageData, cache_dir: Path) -> TrainedInstrument:
    """A network that learns without classes and has another architecture and seed, from the cache or trained now."""
    spec = network_spec(FAMILIES["contrast"], data.summary, networks=1)
    if spec.architecture.kind == "perceptron":
        architecture = Architecture("perceptron", (192, 96), 0, 48)
    else:
        architecture = Architecture("convolutions", halving_widths(24, data.summary), 3, 48)
    other = replace(spec, architecture=architecture, seeds=(202,))
    return trained_instrument("contrast, another network", other, data, cache_dir)


def check_name(name: str, num_classes: int) -> None:
    """Checks the name of an instrument before anything is trained.

    Raises:
        UserError: It is none of those, the family needs classes, or `imagenet` is not installed.
    """
    if name in PRETRAINED:
        check_installed()
    elif name not in FAMILIES:
        _imported(name)
    elif FAMILIES[name].classes and num_classes < 2:
        raise UserError(f"--feature-network {name} needs two classes or more, these images have {num_classes}")


def trained_instrument(name: str, spec: NetworkSpec, data: ImageData, cache_dir: Path) -> TrainedInstrument:
    """The networks of `spec` for a data set, from the cache or trained now."""
    key = content_key(data.summary.hash, asdict(spec))
    record = cached(cache_dir / f"features-{key}.pt", lambda: train_networks(data, spec))
    return TrainedInstrument(name, spec, tuple(record["states"]), record["hash"], record["accuracy"])


def _imported(name: str) -> Features:
    module, colon, function = PRETRAINED.get(name, name).partition(":")
    if not colon:
        names = ", ".join([*FAMILIES, *PRETRAINED])
        raise UserError(f"--feature-network {name}: choose from {names}, or give module:function")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except Exception as error:  # a user's module may raise anything
        raise UserError(f"--feature-network {name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UserError(f"--feature-network {name}: {function} is no function")
    return cast("Features", found)


def _loaded(architecture: Architecture, summary: DataSummary, state: dict[str, Tensor]) -> Classifier:
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten at once
        network = Classifier(architecture, summary)
    network.load_state_dict(state)
    return network
