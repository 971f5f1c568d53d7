"""Measures what a trial costs, on a few of its steps and a part of its evaluation, before anything is trained.

Feature networks, a first stage and a perceptual classifier cost as much to use before their training as after it, so
untrained ones stand in for them.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from study.components import Components
from study.config import DataSummary, TrialConfig
from study.data.datasets import ImageData
from study.data.splits import Split
from study.measure.checks import Examination
from study.measure.comparison import COPY_IMAGES, FeatureSet, nearest_distances
from study.measure.context import MAX_IMAGES, Calibrated, EvaluationContext, compare_features, generated_count
from study.measure.evaluate import IWAE_IMAGES, IWAE_SAMPLES, Evaluator
from study.measure.features import Classifier
from study.measure.instrument import Instrument, instrument, untrained, usual_specs
from study.measure.own_networks import Places
from study.measure.perceptual import Perceptual, perceptual_spec
from study.measure.pictures import write_history, write_pictures
from study.model.stacked import FirstStage
from study.training import checkpoint
from study.training.loop import Trainer
from study.training.memory import watched_memory
from study.training.pretrained import Pretrained
from study.training.stopwatch import Stopwatch

STEPS_SECONDS = 0.3
"""How long training steps are timed."""
EVALUATION_SECONDS = 1.5
"""An evaluation that takes longer is timed on a part of the images."""
_LEAST_IMAGES = 32
_LEAST_SAMPLES = 64
_LEAST_CODES = 500
_HISTORY_PER_EVALUATION = 3


class Figures(NamedTuple):
    """What a configuration costs in one process.

    Attributes:
        epoch: Seconds of the steps of one epoch.
        evaluation: Seconds of one evaluation during the training, its checkpoint and pictures included.
        end: Seconds of the full measurement and the pictures at the end.
        memory: Most bytes of its own that the process held; None where the system does not tell.
        gpu: Largest share of its GPU's memory that it held; None on the CPU.
    """

    epoch: float
    evaluation: float
    end: float
    memory: int | None
    gpu: float | None = None

    def slowed(self, factor: float) -> Figures:
        """The same with all times multiplied."""
        return self._replace(epoch=factor * self.epoch, evaluation=factor * self.evaluation, end=factor * self.end)


def measure_trial(
    config: TrialConfig,
    data: ImageData,
    network: str | None,
    places: Places,
    own: Components,
    watch: Stopwatch,
    device: str = "cpu",
    *,
    compares: bool = True,
) -> Figures:
    """Times a configuration on this process's threads and watches its memory.

    Args:
        config: What a trial would train.
        data: The data set, or the first images of its splits; its summary counts all of them.
        network: As of `study.measure.instrument`; None for the default.
        places: Where feature networks of the user's own are found.
        own: The space's own components.
        watch: Times the pieces; the figures are not yet multiplied by its slowdown.
        device: Where trials train.
        compares: Whether to compare as many features as the end of a trial does, for the memory that this takes.
    """
    with watched_memory() as held, tempfile.TemporaryDirectory(prefix="study-cost-") as scratch:
        data = data.to(device)
        epoch, trainer = _epoch_seconds(config, data, device, watch)
        folder = Path(scratch) / "trial" / "attempt-1"
        folder.mkdir(parents=True)
        given = _instruments(network, places, data)

        least = _least_share(data)

        def evaluator(share: float) -> Evaluator:
            part = _part(data, share)
            return Evaluator(part, stand_in(data.summary, given, share), device=device, own=own)

        def during(share: float) -> Callable[[], object]:
            of = evaluator(share)
            return lambda: of.search_metrics(trainer.model)

        def end(share: float) -> Callable[[], object]:
            of = evaluator(share)

            def work() -> None:
                prior = of.final_measurement(trainer.model).prior
                write_pictures(trainer.model, of.data, folder, prior)

            return work

        def files() -> None:
            checkpoint.save(folder, 1, trainer.state())
            for number in range(_HISTORY_PER_EVALUATION):
                write_history(trainer.model, data, folder, number)

        if compares and least < 1:
            _compare(stand_in(data.summary, given))
        measuring = whole_seconds(during, least, watch)
        final = _twice(end(least), watch)
        if least < 1:
            samples, more = decoded(config, data.summary, 1.0), decoded(config, data.summary, least)
            final += measuring / samples.during * (samples.end - more.end)
            if final < EVALUATION_SECONDS:
                final = watch(end(1.0))
        evaluation = measuring + watch(files)
    return Figures(epoch, evaluation, final, held.get("peak"))


def stand_in(summary: DataSummary, given: tuple[Instrument, Instrument], share: float = 1.0) -> EvaluationContext:
    """A context that takes as long to measure with as the real one; what it says of real images is made up.

    Args:
        summary: Of the whole data set.
        given: The two instruments.
        share: Of the images that are measured.
    """
    generator = np.random.default_rng(0)
    sizes = {"validation": summary.validation_size, "test": summary.test_size}
    counts = {name: min(MAX_IMAGES, _count(size, share, _LEAST_IMAGES)) for name, size in sizes.items()}

    def features(found: Instrument, count: int) -> np.ndarray:
        with torch.no_grad():
            size = found.build(summary, "cpu")(torch.rand(2, *summary.shape)).shape[1]
        return generator.normal(size=(count, size)).astype(np.float32)

    def calibrated(found: Instrument) -> Calibrated:
        made = {name: features(found, count) for name, count in counts.items()}
        return Calibrated(found, 1.0, made, Examination(1.0, 0.0, {}, ()))

    samples = {name: _samples(size, share) for name, size in sizes.items()}
    training = features(given[0], summary.train_size)
    first, second = map(calibrated, given)
    return EvaluationContext(first, second, (), training, samples, {}, {})


def _compare(context: EvaluationContext) -> None:
    """Compares as many features as there are, real and made ones."""
    real = FeatureSet(context.first.features["test"])
    made = FeatureSet(np.random.default_rng(1).normal(size=(context.samples["test"], real.features.shape[1])))
    compare_features(real, made)
    nearest_distances(made.features[:COPY_IMAGES], context.training)


class Decoded(NamedTuple):
    """Images that a model decodes, in an evaluation during the training and in the one at its end."""

    during: int
    end: int


def decoded(config: TrialConfig, summary: DataSummary, share: float) -> Decoded:
    """What evaluations decode: reconstructions, samples, midpoints, and the draws of IWAE bounds.

    Args:
        config: The trial.
        summary: Of the whole data set.
        share: Of the images.
    """
    sizes = [_count(size, share, _LEAST_IMAGES) for size in (summary.validation_size, summary.test_size)]
    measured = [min(MAX_IMAGES, size) for size in sizes]
    samples = [_samples(size, share) for size in (summary.validation_size, summary.test_size)]
    bounds = IWAE_SAMPLES * sum(min(IWAE_IMAGES, size) for size in sizes) if config.encoder == "gaussian" else 0
    # Samples from N(0, I), ten Gaussians and the fitted prior; those of the first and the last in both instruments.
    return Decoded(measured[0] + samples[0], sum(sizes) + sum(measured) + 5 * sum({*samples}) + bounds)


def whole_seconds(
    make: Callable[[float], Callable[[], object]], least: float, watch: Callable[[Callable[[], object]], float]
) -> float:
    """Seconds of some work on all images, from ever larger parts of them.

    Args:
        make: Share of the images -> the work on them.
        least: The smallest share.
        watch: Times some work.
    """
    share, spent = least, _twice(make(least), watch)
    points = [(share, spent)]
    # One point alone would take for linear what is constant.
    while share < 1 and spent < (2 if len(points) == 1 else 0.5) * EVALUATION_SECONDS:
        share = min(1.0, share * min(8.0, max(2.0, EVALUATION_SECONDS / spent)))
        spent = watch(make(share))
        points.append((share, spent))
    return extrapolated(points)


def extrapolated(points: list[tuple[float, float]]) -> float:
    """Seconds at share 1 on the line through the last two points (share, seconds), or through the origin."""
    share, spent = points[-1]
    before, earlier = points[-2] if len(points) > 1 else (0.0, 0.0)
    return spent + max(0.0, spent - earlier) / (share - before) * (1 - share)


def _twice(work: Callable[[], object], watch: Callable[[Callable[[], object]], float]) -> float:
    """Seconds of the second call: the first also pays for what happens once in a process. A long one counts itself."""
    spent = watch(work)
    return spent if spent > EVALUATION_SECONDS else watch(work)


def _epoch_seconds(config: TrialConfig, data: ImageData, device: str, watch: Stopwatch) -> tuple[float, Trainer]:
    """Seconds of the steps of an epoch, from a few of them."""
    batch = min(config.batch_size, data.summary.train_size)
    steps = data.summary.train_size // batch

    def trainer(count: int) -> Trainer:
        rows = torch.arange(count * batch, device=data.train.images.device) % len(data.train)
        part = dataclasses.replace(data, train=data.train.take(rows))
        return Trainer(config, part, device, _pretrained(config, part, device))

    def epoch(of: Trainer) -> float:
        of.epoch = 0  # schedules end with the training
        return watch(of.train_epoch)

    one = trainer(1)
    epoch(one)  # it also pays for what happens once in a process
    count = max(1, min(steps, round(STEPS_SECONDS / max(1e-6, min(epoch(one), epoch(one))))))
    several = one if count == 1 else trainer(count)
    spent = []
    while not spent or sum(spent) < STEPS_SECONDS:
        spent.append(epoch(several))
    return sum(spent) / len(spent) * steps / count, several


def _pretrained(config: TrialConfig, data: ImageData, device: str) -> Pretrained:
    """Untrained parts in place of those that a trial finds trained."""
    features = first_stage = codes = None
    with torch.random.fork_rng(devices=[]):
        if config.perceptual_weight > 0:
            features = Perceptual(Classifier(perceptual_spec(data.summary).architecture, data.summary)).to(device)
        if config.reads_codes:
            stage = FirstStage(data.summary).to(device)
            stage.scale.fill_(1)
            first_stage, codes = stage.state_dict(), stage.encode_all(data.train.images)
    return Pretrained(first_stage, codes, features)


def _instruments(network: str | None, places: Places, data: ImageData) -> tuple[Instrument, Instrument]:
    first, second = usual_specs(network, data.summary)
    if first is not None:
        return untrained(first, data.summary), untrained(second, data.summary)
    assert network is not None
    return instrument(network, data, Path(), places=places), untrained(second, data.summary)


def _least_share(data: ImageData) -> float:
    summary = data.summary
    return min(1.0, max(_LEAST_IMAGES / summary.validation_size, _LEAST_IMAGES / summary.test_size))


def _part(data: ImageData, share: float) -> ImageData:
    """The data with a share of the images of each split, as far as they are there."""

    def part(name: str, size: int, least: int) -> Split:
        split, count = data.split(name), _count(size, share, least)
        return split.take(torch.arange(count, device=split.images.device) % len(split))

    summary = data.summary
    return dataclasses.replace(
        data,
        train=part("train", summary.train_size, _LEAST_CODES),
        validation=part("validation", summary.validation_size, _LEAST_IMAGES),
        test=part("test", summary.test_size, _LEAST_IMAGES),
    )


def _count(size: int, share: float, least: int) -> int:
    return max(min(size, least), round(share * size))


def _samples(size: int, share: float) -> int:
    return max(_LEAST_SAMPLES, round(share * generated_count(min(size, MAX_IMAGES))))
