"""Candidates for the feature network, to be compared by `benchmarks.instrument`.

Each is a way to train a small network on a data set's training split. What differs is what it must tell apart and what
it must ignore:

- nuisances, which features should ignore: contrast, brightness, small affine changes, a little blur and noise;
- structure, which features should see: an image with a block from another image, or blended with another image.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.controls import blur
from study.data.datasets import ImageData
from study.measure.features import Classifier, as_float, feature_network_spec, trained_classifier

Features = Callable[[Tensor], Tensor]
"""float images [B, C, H, W] in [0, 1] -> float64 features [B, d]."""

_IMAGES_SEEN, _LEAST_STEPS, _BATCH = 400_000, 1_500, 128
_WHOLE, _PATCHED, _BLENDED = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Task:
    """What a network is trained to do; the losses are added.

    Attributes:
        classes: Tell the classes apart, in images that are whole.
        structure: Tell whole images from patched and blended ones.
        contrast: Tell images apart, whatever the nuisances (SimCLR, arXiv 2002.05709).
        nuisances: Train on images with nuisances.
    """

    classes: bool = False
    structure: bool = False
    contrast: bool = False
    nuisances: bool = False


CANDIDATES: dict[str, Task | None] = {
    "today": None,
    "today, unit length": None,
    "classes": Task(classes=True),
    "classes, nuisances": Task(classes=True, nuisances=True),
    "classes, nuisances, structure": Task(classes=True, nuisances=True, structure=True),
    "contrast, nuisances, structure": Task(contrast=True, nuisances=True, structure=True),
}
"""Name -> how it is trained; None is the study's own classifier with its ReLU features.

All but `today` use features without a ReLU, divided by their length.
"""


def build(name: str, data: ImageData, seed: int, cache: Path) -> Features:
    """Trains a candidate; seconds to minutes on one thread. The study's own classifier may come from the cache."""
    task = CANDIDATES[name]
    if task is not None:
        return _trained(data, task, seed)
    spec = dataclasses.replace(feature_network_spec(data.summary), seed=seed)
    classifier = trained_classifier(data, spec, cache).build(data.summary)
    return _frozen(classifier, classifier.features, is_unit=name != "today")


def _trained(data: ImageData, task: Task, seed: int) -> Features:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        spec = dataclasses.replace(feature_network_spec(data.summary), features=64)
        network = Classifier(spec, data.summary)
        linear = nn.Sequential(*list(network.embedding.children())[:-1])  # without its ReLU
        structure, projection = nn.Linear(spec.features, 3), nn.Linear(spec.features, 32)

        def features(x: Tensor) -> Tensor:
            return linear(network.intermediate(x)[-2])

        generator = torch.Generator().manual_seed(seed)
        images, labels = data.train.images, data.train.labels
        steps = max(_LEAST_STEPS, _IMAGES_SEEN // _BATCH)
        rate = spec.learning_rate if spec.kind == "perceptron" else spec.learning_rate / 2
        modules = nn.ModuleList([network, structure, projection])
        optimizer = torch.optim.AdamW(modules.parameters(), rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        for _ in range(steps):
            batch = torch.randint(len(images), (_BATCH,), generator=generator)
            x, kind = as_float(images[batch]), torch.full((_BATCH,), _WHOLE)
            loss = torch.zeros(())
            seen = x
            if task.structure:
                seen, kind = _broken(x, generator)
            seen = _with_nuisances(seen, generator) if task.nuisances else seen
            found = features(seen)
            if task.classes:
                whole = kind == _WHOLE
                loss = loss + F.cross_entropy(network.head(found[whole]), labels[batch][whole])
            if task.structure:
                loss = loss + 0.5 * F.cross_entropy(structure(found), kind)
            if task.contrast:
                views = [projection(features(_with_nuisances(x, generator))) for _ in range(2)]
                loss = loss + _contrastive(*views)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return _frozen(modules, features, is_unit=True)


def _frozen(module: nn.Module, features: Callable[[Tensor], Tensor], is_unit: bool) -> Features:
    module.eval().requires_grad_(False)

    def extract(x: Tensor) -> Tensor:
        found = torch.cat([features(part) for part in x.split(512)]).double()
        return F.normalize(found, dim=1) if is_unit else found

    return extract


def _with_nuisances(x: Tensor, generator: torch.Generator) -> Tensor:
    count = len(x)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(count, *shape).uniform_(low, high, generator=generator)

    angle, scale = uniform(-0.2, 0.2), uniform(0.9, 1.1)
    turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(count, 2, 2)
    moved = uniform(-0.09, 0.09, 2, 1)
    grid = F.affine_grid(torch.cat([scale[:, None, None] * turned, moved], dim=2), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    x = (x * uniform(0.5, 1.2, 1, 1, 1) + uniform(-0.15, 0.15, 1, 1, 1)).clamp(0, 1)
    first, second, *_ = torch.randperm(count, generator=generator).split(count // 4)
    side = max(0.4, x.shape[-1] / 28)
    x[first] = blur(x[first], float(uniform(0.3, 0.9)[0]) * side)
    noise = torch.randn(x[second].shape, generator=generator)
    x[second] = (x[second] + float(uniform(0.02, 0.12)[0]) * noise).clamp(0, 1)
    return x


def _broken(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half of the images patched or blended with others, and which is which, [B]."""
    count, _, height, width = x.shape
    patched, blended, *_ = torch.randperm(count, generator=generator).split(count // 4)
    result, kind = x.clone(), torch.full((count,), _WHOLE)
    top = int(torch.randint(height - height // 2 + 1, (), generator=generator))
    left = int(torch.randint(width - width // 2 + 1, (), generator=generator))
    rows, columns = slice(top, top + height // 2), slice(left, left + width // 2)
    others = x[torch.randperm(count, generator=generator)]
    result[patched, :, rows, columns] = others[patched, :, rows, columns]
    share = torch.empty(len(blended), 1, 1, 1).uniform_(0.3, 0.7, generator=generator)
    result[blended] = x[blended] + share * (others[blended] - x[blended])
    kind[patched], kind[blended] = _PATCHED, _BLENDED
    return result, kind


def _contrastive(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    """NT-Xent: each view must find the other view of its image among all views of the batch."""
    views = F.normalize(torch.cat([first, second]), dim=1)
    similarity = (views @ views.T / temperature).fill_diagonal_(-math.inf)
    count = len(first)
    return F.cross_entropy(similarity, torch.arange(2 * count).roll(count))
