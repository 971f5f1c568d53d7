"""Measures what trials cost where they will run: in Ray's processes, with a trial's resources, as many at once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
import ray.exceptions
import sklearn.mixture  # noqa: F401  # a trial's process has it, and its memory
import torch

from study.components import NO_COMPONENTS
from study.config import TrialConfig, UserError
from study.data.datasets import ImageData
from study.measure.own_networks import NO_PLACES, Places
from study.training.loop import evaluation_epochs
from study.training.preparation import preparation_seconds
from study.training.probe import Figures, measure_trial
from study.training.stopwatch import Stopwatch
from study.tuning.cluster import Cluster, room
from study.tuning.trainable import assigned_device, keep_to_share, memory_share, own_components, pack, unpack

ENOUGH_SECONDS = 8.0
"""After this no further configuration is measured."""
_MOST_BYTES = 2**28
"""Of the images that are sent to be measured with."""
_MOST_PROCESSES = 16
_WAIT_SECONDS = 300.0
_REUSED = 1.2
"""How much more a process holds after several trials: 1.14 times on digits, 1.36 on MNIST (`benchmarks.cost`)."""
_BATCHES = 4


class Asked(NamedTuple):
    """What is measured, and with what.

    Attributes:
        configs: Trial parameters, the one that is expected to be the largest first.
        data: The data set.
        cache: The folder of what studies share.
        network: As of `study.measure.instrument`.
        places: Where feature networks of the user's own are found.
        perceptual: Whether trials need the network of the perceptual loss.
        first_stage: Whether they need the first stage.
        code: As of `study.tuning.worker.run_trial`.
    """

    configs: Sequence[dict[str, Any]]
    data: ImageData
    cache: Path
    network: str | None = None
    places: Places = NO_PLACES
    perceptual: bool = False
    first_stage: bool = False
    code: tuple[Path, Path] | None = None


class Measured(NamedTuple):
    """What was found.

    Attributes:
        figures: By position among the configurations; those that there was no time for are left out.
        preparation: Seconds to train what trials share and is not cached, by its name.
        at_once: How many processes measured at the same time.
    """

    figures: dict[int, Figures]
    preparation: dict[str, float]
    at_once: int


def measure(asked: Asked, cluster: Cluster) -> Measured:
    """Measures on a cluster that has been joined.

    The largest configuration is measured alone first, because more trials than memory allows must not begin even here.

    Raises:
        UserError: A configuration cannot be measured, or no node has room for it now.
    """
    resources = cluster.resources
    task = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=0)
    packed, threads = ray.put(pack(_sent(asked))), max(1, int(resources.cpus))
    rest = (asked.network, asked.places, threads, asked.code)
    first = _answers([task(_measure).remote(asked.configs[:1], packed, *rest, True)])[0]
    known = dataclasses.replace(resources, memory=first[0].memory or 0 if 0 in first else 0)
    at_once = max(1, min(room(known), _MOST_PROCESSES))
    needs = {"perceptual": asked.perceptual, "first_stage": asked.first_stage}
    [preparation] = _answers([task(_prepare_seconds).remote(packed, asked.network, asked.cache, needs)])
    if at_once == 1:
        others = _answers([task(_measure).remote(asked.configs[1:], packed, *rest, False)])[0]
        figures = {**first, **{index + 1: found for index, found in others.items()}}
        return Measured(figures, preparation, 1)
    _answers([task(_begin).remote() for _ in range(at_once)])  # they import, so that all measure at the same time
    found = _answers([task(_measure).remote(asked.configs, packed, *rest, False) for _ in range(at_once)])
    figures = {index: _mean([each[index] for each in found if index in each]) for index in set().union(*found)}
    figures[0] = figures[0]._replace(memory=first[0].memory)  # with the comparisons at a trial's end
    return Measured(figures, preparation, at_once)


def evaluations(epochs: int) -> int:
    """How often a trial of that length is evaluated, beside the full measurement at its end."""
    return max(1, len(evaluation_epochs(epochs)) - 1)


def _sent(asked: Asked) -> ImageData:
    """The first images of each split: as many as are measured with, or fewer where they are large."""
    data = asked.data
    size = data.train.images[0].numel() * data.train.images.element_size()
    share = min(1.0, _MOST_BYTES / (size * (len(data.train) + len(data.validation) + len(data.test))))
    if share == 1:
        return data
    batch = max(int(config["batch_size"]) for config in asked.configs)

    def part(name: str) -> Any:
        split = data.split(name)
        return split.first(max(round(share * len(split)), min(len(split), _BATCHES * batch)))

    return dataclasses.replace(data, train=part("train"), validation=part("validation"), test=part("test"))


def _answers(tasks: list[Any]) -> list[Any]:
    """What tasks return.

    Raises:
        UserError: One fails, or has no room for too long.
    """
    try:
        return ray.get(tasks, timeout=_WAIT_SECONDS)
    except ray.exceptions.GetTimeoutError:
        for each in tasks:
            ray.cancel(each, force=True)
        raise UserError("no node of the Ray cluster had room for it") from None
    except ray.exceptions.RayTaskError as error:
        raise UserError(next(iter(str(error.cause).splitlines()), type(error.cause).__name__)) from error
    except ray.exceptions.RayError as error:  # out of memory, a dead node
        raise UserError(type(error).__name__) from error


def _begin() -> None:
    """Lets Ray start a process, which imports this module."""
    time.sleep(0.2)  # so that another process takes the next one


def _measure(
    configs: Sequence[dict[str, Any]],
    packed: Any,
    network: str | None,
    places: Places,
    threads: int,
    code: tuple[Path, Path] | None,
    compares: bool,
) -> dict[int, Figures]:
    torch.set_num_threads(threads)
    own = NO_COMPONENTS if code is None else own_components(code[0])
    data, device, found, begun = unpack(packed), assigned_device(), {}, time.monotonic()
    watch = Stopwatch(by_processor=device == "cpu" and threads == 1)
    for index, params in enumerate(configs):
        if found and time.monotonic() - begun > ENOUGH_SECONDS:
            break
        if device == "cuda":
            keep_to_share()
        config = TrialConfig.from_params(params, own)
        figures = measure_trial(config, data, network, places, own, watch, device, compares=compares)
        found[index] = figures._replace(memory=None if figures.memory is None else round(_REUSED * figures.memory))
        if device == "cuda":
            found[index] = found[index]._replace(gpu=memory_share())
            torch.cuda.empty_cache()
    return {index: figures.slowed(watch.slowdown) for index, figures in found.items()}


def _prepare_seconds(packed: Any, network: str | None, cache: Path, needs: dict[str, bool]) -> dict[str, float]:
    return preparation_seconds(unpack(packed), network, cache, **needs)


def _mean(found: Sequence[Figures]) -> Figures:
    def mean(part: Callable[[Figures], float]) -> float:
        return sum(map(part, found)) / len(found)

    return Figures(
        mean(lambda each: each.epoch),
        mean(lambda each: each.evaluation),
        mean(lambda each: each.end),
        max((each.memory for each in found if each.memory is not None), default=None),
        max((each.gpu for each in found if each.gpu is not None), default=None),
    )
