"""Feature networks: what FID and the other sample metrics compare images in.

Inception's features mean nothing on 28x28 digits, so each data set has networks of its own, trained once. The weights
are cached by content, and every study records their hash.

A family says what the networks are trained to tell apart. Both ignore nuisances and see broken images
(`study.measure.distortions`): without the first, a score follows contrast; without the second, it hardly sees samples
that are mixtures of images. `benchmarks.instrument` compares families as one compares instruments.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import DataSummary, UserError
from study.data.datasets import ImageData
from study.measure.cache import cached, content_key
from study.measure.features import Architecture, Classifier, halving_widths, is_tiny
from study.measure.network_training import NetworkSpec, Task, train_networks
from study.measure.own_networks import NO_PLACES, Features, Places, check_custom, custom_instrument

FAMILIES: dict[str, Task] = {
    "classes": Task(classes=True, structure=True, nuisances=True),
    "contrast": Task(contrast=True, structure=True, nuisances=True),
}
"""The families that `study.run` trains by name."""


def families(summary: DataSummary) -> list[str]:
    """The families that can learn from a data set, the default first.

    `classes` on grey and on tiny images, `contrast` on colour ones: there it misplaces fewer broken models and depends
    less on its seed (`benchmarks.instrument`). `classes` needs two classes.
    """
    is_colour = summary.channels > 1 and not is_tiny(summary)
    found = second_families("", summary)
    return found[::-1] if is_colour else found


def second_families(first: str, summary: DataSummary) -> list[str]:
    """The families for the network beside the first one, the one to prefer first.

    Not in the order of `families`: studies that are resumed keep their second network by it.
    """
    return [name for name, task in FAMILIES.items() if name != first and (not task.classes or summary.num_classes > 1)]


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


def instrument(
    name: str, data: ImageData, cache_dir: Path, *, networks: int | None = None, places: Places = NO_PLACES
) -> Instrument:
    """An instrument by name, from the cache or trained now, which takes seconds to minutes.

    Args:
        name: One of `FAMILIES` or `PRETRAINED`, one that the space brings, or `module:function`.
        data: The data set.
        cache_dir: A folder that all studies share.
        networks: How many networks of a family, if not the default.
        places: Where functions of the user's own are found.

    Raises:
        UserError: The module or its function cannot be imported, or `imagenet` is not installed.
    """
    if name in FAMILIES:
        spec = network_spec(FAMILIES[name], data.summary, networks=networks)
        return trained_instrument(name, spec, data, cache_dir)
    return custom_instrument(name, places)


def other_instrument(data: ImageData, cache_dir: Path) -> TrainedInstrument:
    """A network that learns without classes and has another architecture and seed, from the cache or trained now."""
    return trained_instrument("contrast, another network", _other_spec(data.summary), data, cache_dir)


def _other_spec(summary: DataSummary) -> NetworkSpec:
    spec = network_spec(FAMILIES["contrast"], summary, networks=1)
    if spec.architecture.kind == "perceptron":
        architecture = Architecture("perceptron", (192, 96), 0, 48)
    else:
        architecture = Architecture("convolutions", halving_widths(24, summary), 3, 48)
    return replace(spec, architecture=architecture, seeds=(202,))


def usual_specs(name: str | None, summary: DataSummary) -> tuple[NetworkSpec | None, NetworkSpec]:
    """What a study's first and second instrument train where the first that is tried passes its checks.

    Args:
        name: The network that was asked for, as of `instrument`; None for the default.
        summary: The data set's summary.

    Returns:
        None for a first instrument that is not trained here.
    """
    first = name or families(summary)[0]
    others = second_families(first, summary)
    second = network_spec(FAMILIES[others[0]], summary, networks=1) if others else _other_spec(summary)
    return network_spec(FAMILIES[first], summary) if first in FAMILIES else None, second


def check_name(name: str, summary: DataSummary, places: Places = NO_PLACES) -> None:
    """Checks the name of an instrument before anything is trained.

    Args:
        name: As of `instrument`.
        summary: The data's.
        places: As of `instrument`.

    Raises:
        UserError: It is none of those, the family needs classes, `imagenet` is not installed, or a function of the
            user's own fails.
    """
    if name not in FAMILIES:
        check_custom(name, summary, places)
    elif FAMILIES[name].classes and summary.num_classes < 2:
        raise UserError(f"--feature-network {name} needs two classes or more, these images have {summary.num_classes}")


def trained_instrument(name: str, spec: NetworkSpec, data: ImageData, cache_dir: Path) -> TrainedInstrument:
    """The networks of `spec` for a data set, from the cache or trained now."""
    record = cached(networks_path(spec, data.summary, cache_dir), lambda: train_networks(data, spec))
    return TrainedInstrument(name, spec, tuple(record["states"]), record["hash"], record["accuracy"])


def networks_path(spec: NetworkSpec, summary: DataSummary, cache_dir: Path) -> Path:
    """The file that keeps the trained networks of `spec`."""
    return cache_dir / f"features-{content_key(summary.hash, asdict(spec))}.pt"


def untrained(spec: NetworkSpec, summary: DataSummary) -> TrainedInstrument:
    """Networks of `spec` before their training: they cost as much to use as trained ones."""
    with torch.random.fork_rng(devices=[]):
        states = tuple(Classifier(spec.architecture, summary).state_dict() for _ in spec.seeds)
    return TrainedInstrument("untrained", spec, states, "untrained", None)


def _loaded(architecture: Architecture, summary: DataSummary, state: dict[str, Tensor]) -> Classifier:
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten at once
        network = Classifier(architecture, summary)
    network.load_state_dict(state)
    return network
