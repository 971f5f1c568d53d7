"""What a trial leaves to look at: grids of images, and the small arrays that figures are drawn from."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from study.data.datasets import ImageData
from study.data.pixels import as_float
from study.data.splits import Split
from study.disk.layout import ARRAYS, attempt_folders
from study.measure.features import measuring
from study.model.autoencoder import Autoencoder, Posterior, class_direction
from study.model.divergences import unit_kl
from study.priors.fitted import FittedPrior

SAMPLES = 49
PAIRS = 8
STEPS = 11
COLUMNS = 10
MAX_CODES = 2_000
MAX_MORPHS = 5
HISTORY = 10
_BATCH = 256
_CELL = 64
_GAP = 2
_SEED = 49


def write_pictures(model: Autoencoder, data: ImageData, directory: Path, prior: FittedPrior | None = None) -> None:
    """Writes a trained model's pictures and arrays. Each file appears whole or not at all.

    `images/samples.png`: 49 samples. Their codes, drawn from N(0, I), are the same for every model of one latent size.
    `images/fitted_samples.png`: 49 samples from the fitted prior.
    `images/reconstructions.png`: 20 validation images, each above its reconstruction.
    `arrays.npz`, with images as uint8 [..., C, H, W]:
    - `codes` float32 [n, d] and `labels` int64 [n]: posterior means of up to 2,000 validation images;
    - `kl_per_unit` float32 [d]: their mean KL to the prior in nats, for Gaussian encoders only;
    - `samples` [49], `originals` [20] and `reconstructions` [20]: as in the pictures;
    - `fitted_samples` [49]: likewise, only with a `prior`;
    - `interpolations` [8, 11]: between pairs of validation images; the first and last reconstruct the pair;
    - `first_stage` [20]: the originals through the first stage alone, for `stacked` only;
    - `morphs` [m, 11] and `morph_classes` int64 [m, 2]: images of the first class moved in the direction of the second;
    - `history` [e, 10] and `history_epochs` int64 [e]: the first ten originals reconstructed during the training, see
      `write_history`.

    Args:
        model: A model on the device of `data`.
        data: Shown are images of the validation split; class directions come from the training split.
        directory: The attempt's folder, which exists.
        prior: The prior fitted to the model's codes.

    Raises:
        OSError: A file cannot be written.
    """
    device = next(model.parameters()).device
    with measuring(model):
        validation = data.validation.first(MAX_CODES).to(device)
        images = as_float(validation.images)
        shown = images[: 2 * COLUMNS]
        generator = torch.Generator().manual_seed(_SEED)
        z = torch.randn(SAMPLES, model.latent_dim, generator=generator).to(device)
        ends = images[: 2 * PAIRS]
        half = len(ends) // 2
        posteriors = [model.encode(batch) for batch in images.split(_BATCH)]
        arrays: dict[str, Any] = {
            "codes": torch.cat([posterior.mu for posterior in posteriors]).float().cpu().numpy(),
            "labels": validation.labels.cpu().numpy(),
            **_kl_per_unit(posteriors),
            "samples": _as_bytes(model.decode(z)),
            **_fitted_samples(model, prior, device),
            "originals": _as_bytes(shown),
            "reconstructions": _as_bytes(model.reconstruct(shown)),
            "interpolations": _as_bytes(model.interpolate(ends[:half], ends[half : 2 * half], STEPS).transpose(0, 1)),
            **_first_stage(model, shown),
            **_morphs(model, data, validation, device),
            **_read_history(directory.parent),
        }
    (directory / "images").mkdir(exist_ok=True)
    for name in {"samples", "fitted_samples"} & arrays.keys():
        _write(directory / "images" / f"{name}.png", _png(grid(arrays[name], 7)))
    pairs = _interleaved(arrays["originals"], arrays["reconstructions"], COLUMNS)
    _write(directory / "images" / "reconstructions.png", _png(grid(pairs, min(COLUMNS, len(shown)))))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    _write(directory / ARRAYS, buffer.getvalue())


def write_history(model: Autoencoder, data: ImageData, directory: Path, epoch: int) -> None:
    """Writes an epoch's reconstructions of ten validation images: `history/000008.npy`, uint8 [10, C, H, W].

    The images are the first ten `originals` of `write_pictures`, which gathers the epochs of all attempts at the end.

    Args:
        model: A model on the device of `data`.
        data: The validation split is shown.
        directory: The attempt's folder, which exists.
        epoch: Epochs trained so far.

    Raises:
        OSError: The file cannot be written.
    """
    with measuring(model):
        shown = as_float(data.validation.first(HISTORY).to(next(model.parameters()).device).images)
        images = _as_bytes(model.reconstruct(shown))
    (directory / "history").mkdir(exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, images)
    _write(directory / "history" / f"{epoch:06d}.npy", buffer.getvalue())


def _read_history(trial_directory: Path) -> dict[str, np.ndarray]:
    """The reconstructions of every evaluated epoch. If an epoch was trained twice, the newest attempt counts."""
    attempts = (attempt for _, attempt in attempt_folders(trial_directory))
    by_epoch = {int(path.stem): path for attempt in attempts for path in attempt.glob("history/*.npy")}
    epochs = sorted(by_epoch)
    if not epochs:
        return {}
    return {
        "history": np.stack([np.load(by_epoch[epoch], allow_pickle=False) for epoch in epochs]),
        "history_epochs": np.array(epochs, np.int64),
    }


def grid(images: np.ndarray, columns: int) -> Image.Image:
    """Images uint8 [N, C, H, W] in rows. Small images are enlarged to about 64 pixels, without smoothing."""
    count, channels, height, width = images.shape
    factor = max(1, round(_CELL / max(height, width)))
    pixels = images.repeat(factor, axis=2).repeat(factor, axis=3).transpose(0, 2, 3, 1)
    pixels = pixels if channels == 3 else pixels[..., :1].repeat(3, axis=3)
    step_y, step_x = height * factor + _GAP, width * factor + _GAP
    canvas = np.full((-(-count // columns) * step_y + _GAP, columns * step_x + _GAP, 3), 255, np.uint8)
    for index, cell in enumerate(pixels):
        top, left = (index // columns) * step_y + _GAP, (index % columns) * step_x + _GAP
        canvas[top : top + height * factor, left : left + width * factor] = cell
    return Image.fromarray(canvas)


def sample_grid(
    model: Autoencoder, n: int, *, prior: str | None = None, draws: bool = False, seed: int = 0
) -> Image.Image:
    """A square grid of n new images of a model on the CPU.

    Args:
        model: The model.
        n: Number of images, at least 1.
        prior: As of `Autoencoder.sample`.
        draws: Draw pixels from p(x|z) instead of showing its mean.
        seed: Seed of the images.

    Raises:
        UserError: As `Autoencoder.sample`.
    """
    images = model.sample(n, torch.Generator().manual_seed(seed), prior=prior, draw=draws)
    return grid((images * 255).round().to(torch.uint8).numpy(), math.isqrt(n - 1) + 1)


def _fitted_samples(model: Autoencoder, prior: FittedPrior | None, device: torch.device) -> dict[str, np.ndarray]:
    if prior is None:
        return {}
    z = prior.sample(SAMPLES, torch.Generator().manual_seed(_SEED)).to(device)
    return {"fitted_samples": _as_bytes(model.decode(z))}


def _first_stage(model: Autoencoder, x: Tensor) -> dict[str, np.ndarray]:
    stage = model.first_stage
    return {} if stage is None else {"first_stage": _as_bytes(stage.decode(stage.encode(x)))}


def _kl_per_unit(posteriors: list[Posterior]) -> dict[str, np.ndarray]:
    if posteriors[0].logvar is None:
        return {}
    units = [unit_kl(posterior.mu, posterior.logvar) for posterior in posteriors if posterior.logvar is not None]
    return {"kl_per_unit": torch.cat(units).double().mean(dim=0).float().cpu().numpy()}


def _morphs(model: Autoencoder, data: ImageData, validation: Split, device: torch.device) -> dict[str, np.ndarray]:
    """Rows of images that start at an image of one class and move in the direction of the next class.

    They go as far as the next class's mean code, and at least as far as that lies from the mean of all other classes.
    """
    train = data.train.first(MAX_CODES).to(device)
    labels = train.labels
    codes = torch.cat([model.encode(as_float(batch)).mu for batch in train.images.split(_BATCH)])
    rows, classes = [], []
    count = len(data.classes)
    for start in range(min(count, MAX_MORPHS) if count > 1 else 0):
        target = (start + 1) % count
        candidates = (validation.labels == start).nonzero()[:, 0]
        inside = labels == target
        if not len(candidates) or not inside.any() or inside.all():
            continue
        direction = class_direction(codes, labels, target)
        z = model.encode(as_float(validation.images[candidates[:1]])).mu
        middle = codes[inside].mean(dim=0)
        distance = float(torch.max((middle - z[0]) @ direction, (middle - codes[~inside].mean(dim=0)) @ direction))
        rows.append(_as_bytes(model.morph(z, direction, distance, STEPS)[:, 0]))
        classes.append((start, target))
    images = np.stack(rows) if rows else np.empty((0, STEPS, *data.summary.shape), np.uint8)
    return {"morphs": images, "morph_classes": np.array(classes, np.int64).reshape(-1, 2)}


def _as_bytes(images: Tensor) -> np.ndarray:
    return (images * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def _interleaved(above: np.ndarray, below: np.ndarray, columns: int) -> np.ndarray:
    """A row of `above`, the matching row of `below`, and so on."""
    parts = [rows[start : start + columns] for start in range(0, len(above), columns) for rows in (above, below)]
    return np.concatenate(parts)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
