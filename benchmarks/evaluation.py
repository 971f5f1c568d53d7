"""Measures what evaluation costs: its share of a trial, beside a loop with torchmetrics, and all of it at the end.

    python -m benchmarks.evaluation --data-dir ../shared/data

It uses the defaults of each data set (network, batch, epochs, image counts) on one thread, and a plain autoencoder: no
method trains faster, so none spends a larger share on evaluation. Epochs and evaluations are timed alternately; their
numbers in a trial give the share. A trial that completes is also measured once in full, on both splits and under the
fitted prior: what that adds is printed too.

The torchmetrics loop decodes, extracts features with the same network and updates the same three metrics batch by
batch; both must give the same values. MNIST is left out if it is not in `--data-dir`.
"""

from __future__ import annotations

import functools
import statistics
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError
from torchmetrics.image.fid import FrechetInceptionDistance

from benchmarks import data_sets
from benchmarks.options import CacheOption, DataOption
from benchmarks.rows import Row, interleaved, seconds
from study.cli import run_command
from study.config import TrialConfig
from study.data.datasets import ImageData
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator
from study.priors.choosing import fit_prior
from study.training.loop import Trainer, evaluation_epochs

REPEATS = {"digits": 15, "mnist": 3}
MOST_OF_A_TRIAL = 0.10
LEAST_OF_TORCHMETRICS = 0.95


class NetworkFeatures(nn.Module):
    """The feature network as a feature extractor for torchmetrics."""

    def __init__(self, evaluator: Evaluator, num_features: int) -> None:
        super().__init__()
        # A function and not a submodule, so that `set_dtype` leaves the feature network in single precision.
        self.extract = functools.partial(evaluator.features)
        self.scale = evaluator.context.first.scale
        self.num_features = num_features

    def forward(self, images: Tensor) -> Tensor:
        return self.extract(images).double() * self.scale


class TorchmetricsLoop:
    """The objectives and the reconstruction FID in a plain loop over batches; it keeps real statistics, as ours."""

    def __init__(self, evaluator: Evaluator, data: ImageData, latent_dim: int, batch_size: int = 256) -> None:
        context = evaluator.context
        features = NetworkFeatures(evaluator, context.training.shape[1])
        self.error = MeanSquaredError()
        self.fids = [FrechetInceptionDistance(feature=features, reset_real_features=False) for _ in range(2)]
        for metric in self.fids:
            metric.set_dtype(torch.float64)  # for its sums
        self.images = evaluator._validation.images
        self.codes = evaluator._prior_codes(context.samples["validation"], latent_dim)
        self.batch_size = batch_size
        for metric in self.fids:
            for batch in self.images.split(batch_size):
                metric.update(batch.float() / 255, real=True)

    @torch.no_grad()
    def __call__(self, trainer: Trainer) -> dict[str, float]:
        model = trainer.model.eval()
        reconstructed, sampled = self.fids
        for metric in (self.error, *self.fids):
            metric.reset()
        for batch in self.images.split(self.batch_size):
            x = batch.float() / 255
            reconstruction = model.reconstruct(x)
            self.error.update(reconstruction.contiguous(), x)
            reconstructed.update(reconstruction, real=False)
        for z in self.codes.split(self.batch_size):
            sampled.update(model.decode(z), real=False)
        return {
            "reconstruction_mse": float(self.error.compute()),
            "reconstruction_fid": float(reconstructed.compute()),
            "sample_fid": float(sampled.compute()),
        }


def measure(data: ImageData, cache: Path) -> list[Row]:
    """The rows of one data set."""
    repeats = REPEATS[data.name]
    config = TrialConfig.from_params({**data.summary.defaults, "dataset": data.name})
    trainer = Trainer(config, data)
    evaluator = Evaluator(data, prepare_context(data, cache))
    loop = TorchmetricsLoop(evaluator, data, config.latent_dim)
    trainer.train_epoch()
    ours, theirs = evaluator.search_metrics(trainer.model), loop(trainer)
    for name, value in theirs.items():
        if abs(ours[name] - value) > 1e-3 * abs(value):
            raise AssertionError(f"{data.name}: {name} is {ours[name]} here and {value} with torchmetrics")

    pairs = [
        (seconds(trainer.train_epoch), seconds(lambda: evaluator.search_metrics(trainer.model))) for _ in range(repeats)
    ]
    count = len(evaluation_epochs(config.epochs))
    shares = [count * evaluation / (config.epochs * epoch + count * evaluation) for epoch, evaluation in pairs]
    images = len(evaluator._validation.images) + evaluator.context.samples["validation"]
    here, there, ratio = interleaved(
        lambda: images / seconds(lambda: evaluator.search_metrics(trainer.model)),
        lambda: images / seconds(lambda: loop(trainer)),
        repeats,
    )
    evaluator.final_metrics(trainer.model)  # the first call imports scikit-learn
    full = [seconds(lambda: evaluator.final_metrics(trainer.model)) for _ in range(min(3, repeats))]
    codes = evaluator.training_codes(trainer.model)
    prior = [seconds(lambda: fit_prior(codes)) for _ in range(min(3, repeats))]
    epoch, evaluation = (statistics.median(times) for times in zip(*pairs, strict=True))
    once = statistics.median(full)
    whole = config.epochs * epoch + count * evaluation + once
    return [
        Row(f"{data.name}: an epoch of training, s", epoch),
        Row(f"{data.name}: an evaluation during the search, s", evaluation),
        Row(f"{data.name}: evaluation's share of a trial", statistics.median(shares), MOST_OF_A_TRIAL, at_most=True),
        Row(f"{data.name}: ours, images/s", here),
        Row(f"{data.name}: torchmetrics, images/s", there),
        Row(f"{data.name}: ours over torchmetrics", ratio, LEAST_OF_TORCHMETRICS),
        Row(f"{data.name}: the full set on both splits, s", once),
        Row(f"{data.name}: of it, the fitted prior, s", statistics.median(prior)),
        Row(f"{data.name}: share of a completed trial, with the full set", (count * evaluation + once) / whole),
    ]


def main(data_dir: DataOption = Path("data"), cache: CacheOption = Path("runs/cache")) -> int:
    """Prints the rows of every available data set."""
    return data_sets.run(REPEATS, measure, data_dir, cache)


if __name__ == "__main__":
    run_command(main)
