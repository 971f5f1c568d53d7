"""Prepares what a study's trials share, before the first of them, where trials run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import torch

from study.config import TrialConfig, UserError
from study.data.datasets import ImageData
from study.measure.context import EvaluationContext, prepare_context
from study.measure.features import is_tiny
from study.measure.own_networks import NO_PLACES, Places
from study.training.parts import Part, missing_parts
from study.training.pretrain import pretrain
from study.tuning.cluster import Cluster, room
from study.tuning.trainable import assigned_device, pack, unpack


def prepare(
    data: ImageData,
    configs: Sequence[TrialConfig],
    cache: Path,
    cluster: Cluster,
    feature_network: str | None = None,
    places: Places = NO_PLACES,
) -> EvaluationContext:
    """Computes what trials share.

    If two or more of its parts are missing in the cache, tasks make them at the same time. With tiny images the imports
    of another process would take longer. On a cluster a task with a trial's resources does the rest, because the
    driver's node may have none. If this process started Ray and no GPU is asked for, it does the rest itself and saves
    the imports of another process.

    Args:
        data: The data set.
        configs: Fixed trials whose pretrained parts are trained now and cached.
        cache: The folder of what studies share.
        cluster: Where trials run.
        feature_network: What samples are compared in, if the user said so.
        places: Where feature networks of the user's own are found.

    Returns:
        What evaluation needs.

    Raises:
        UserError: These data do not allow what the trials need.
    """
    resources = cluster.resources
    threads = max(1, int(resources.cpus))
    parts = [] if is_tiny(data.summary) else missing_parts(data.summary, configs, cache, feature_network)
    if len(parts) > 1 and room(resources) > 1:
        packed = ray.put(pack(data))
        make = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=0)(_make)
        made = [make.remote(part, packed, cache, threads) for part in parts]
        try:
            ray.wait(made, num_returns=len(made))  # what has failed is made again below, which says why
        finally:  # after an interrupt Ray may go on, if it was there before this study
            for each in made:
                ray.cancel(each, force=True)
    if cluster.is_here and not resources.gpus:
        return _compute(data, configs, cache, feature_network, places, threads, "cpu")
    task = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(_prepare)
    try:
        return ray.get(task.remote(pack(data), configs, cache, feature_network, places, threads))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except ray.exceptions.OutOfMemoryError as error:
        raise UserError("the data do not fit into memory: free some, or take a machine with more") from error


def _make(part: Part, packed: Any, cache: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    part(unpack(packed), cache, assigned_device())


def _prepare(
    packed: Any,
    configs: Sequence[TrialConfig],
    cache: Path,
    feature_network: str | None,
    places: Places,
    threads: int,
) -> EvaluationContext:
    return _compute(unpack(packed), configs, cache, feature_network, places, threads, assigned_device())


def _compute(
    data: ImageData,
    configs: Sequence[TrialConfig],
    cache: Path,
    feature_network: str | None,
    places: Places,
    threads: int,
    device: str,
) -> EvaluationContext:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for config in configs:
            pretrain(config, data, cache)
        return prepare_context(data, cache, feature_network=feature_network, device=device, places=places)
    finally:
        torch.set_num_threads(before)
