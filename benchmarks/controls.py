"""Ladders of known order, made from real training images: what a score of samples should see, and how strongly.

A ladder begins with real images and gets worse step by step. A good score rises along every ladder, stays low for what
does no harm (a little contrast, a shift by a pixel), and is high for what no one takes for real.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.measure.distortions import REFERENCE_SIDE, blur


@dataclasses.dataclass(frozen=True)
class Ladder:
    """Image sets from real to worst.

    Attributes:
        name: What is done to the images.
        steps: float [N, C, H, W] in [0, 1], the first untouched.
        held_out: Kept out of choosing a feature network.
    """

    name: str
    steps: Sequence[Tensor]
    held_out: bool = False


def shift(images: Tensor, pixels: int) -> Tensor:
    """Moves the content to the left; the right border is replicated."""
    return F.pad(images, (0, pixels, 0, 0), mode="replicate")[..., pixels:] if pixels else images


def elastic(images: Tensor, strength: float, smoothness: float, generator: torch.Generator) -> Tensor:
    """Smooth random displacements of `strength` pixels (standard deviation), smoothed over `smoothness` pixels."""
    count, _, height, width = images.shape
    field = blur(torch.randn(count, 2, height, width, generator=generator), smoothness)
    field = strength * field / field.std()
    axes = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    offsets = torch.stack([field[:, 0] * 2 / width, field[:, 1] * 2 / height], dim=-1)
    grid = torch.stack([columns, rows], dim=-1) + offsets
    return F.grid_sample(images, grid, padding_mode="border", align_corners=True)


def _joined(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """The lower half of the first `share` of the images comes from another image."""
    others = images[torch.randperm(len(images), generator=generator)]
    count, middle = round(share * len(images)), images.shape[2] // 2
    result = images.clone()
    result[:count, :, middle:] = others[:count, :, middle:]
    return result


def _shuffled_quarters(images: Tensor, share: float) -> Tensor:
    """The first `share` of the images have each quarter in another corner."""
    count = round(share * len(images))
    height, width = images.shape[2] // 2, images.shape[3] // 2
    result = images.clone()
    result[:count] = images[:count].roll((height, width), dims=(2, 3))
    return result


def _erased(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A square of `share` of the side is black, at a random place."""
    side = images.shape[2]
    size = max(1, round(share * side))
    corner = torch.randint(0, side - size + 1, (2, len(images), 1), generator=generator)
    inside = [(torch.arange(length) >= at) & (torch.arange(length) < at + size) for length, at in
              zip(images.shape[2:], corner, strict=True)]  # fmt: skip
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def _pca(images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(reconstructions, samples) of PCA with ever fewer components."""
    flat = images.flatten(1).double()
    mean = flat.mean(0)
    _, deviations, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    generator = torch.Generator().manual_seed(2)
    for size in (64, 16, 4):
        if size < len(directions):
            basis = directions[:size]
            noise = torch.randn(len(images), size, generator=generator, dtype=torch.float64)
            drawn = noise * deviations[:size] / math.sqrt(len(images) - 1)
            reconstruction, sample = (mean + codes @ basis for codes in ((flat - mean) @ basis.T, drawn))
            yield _rounded(reconstruction.float().view_as(images)), _rounded(sample.float().view_as(images))


def _rounded(images: Tensor) -> Tensor:
    """As files keep them: 256 levels in [0, 1]."""
    return (images.clamp(0, 1) * 255).round() / 255


def ladders(data: ImageData, most_images: int = 5_000) -> list[Ladder]:
    """All ladders of a data set, of at most that many images; the same at every call."""
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(3))[:most_images]
    real, labels = as_float(data.train.images[order]), data.train.labels[order]
    scale = max(0.4, data.summary.height / REFERENCE_SIDE)
    pixels = (1, 2, 4) if scale > 0.5 else (1, 2)
    few = (1000, 200, 50) if len(real) > 2000 else (500, 200, 50)
    left_out = [math.ceil(share * len(data.classes) / 10) for share in (1, 3, 5)]
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(1))
    other = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(6))]
    reconstructions, samples = zip(*_pca(real), strict=True)

    def made(
        name: str, strengths: Sequence[float], change: Callable[[float], Tensor], held_out: bool = False
    ) -> Ladder:
        return Ladder(name, [real, *map(change, strengths)], held_out)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(4)

    return [
        made("contrast", (0.9, 0.75, 0.5, 0.25), lambda factor: _rounded(factor * real)),
        made("brightness", (0.05, 0.1, 0.2, 0.4), lambda step: _rounded(real + step)),
        made("shift", pixels, lambda step: shift(real, int(step))),
        made("blur", (0.6, 1.2, 2.0), lambda sigma: _rounded(blur(real, sigma * max(0.6, scale)))),
        made("noise", (0.05, 0.1, 0.2, 0.4), lambda sigma: _rounded(real + sigma * noise)),
        made("halves", (0.25, 0.5, 1.0), lambda share: _joined(real, share, generator())),
        made("classes", left_out, lambda count: real[labels >= count]),
        made("repeated", few, lambda count: real[torch.arange(len(real)) % int(count)]),
        Ladder("PCA", [real, *reconstructions]),
        Ladder("PCA samples", [real, *samples], held_out=True),
        made("quarters", (0.25, 0.5, 1.0), lambda share: _shuffled_quarters(real, share), held_out=True),
        made("elastic", (1, 2, 4), lambda size: _rounded(elastic(real, size * scale, max(3 * scale, 0.8), generator())),
             held_out=True),
        made("erased", (0.15, 0.3, 0.5), lambda share: _erased(real, share, generator()), held_out=True),
        made("averaged", (0.1, 0.25, 0.5), lambda share: _rounded(real.lerp(other, share)), held_out=True),
    ]  # fmt: skip
