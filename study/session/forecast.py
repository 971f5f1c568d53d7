"""Measures what a study will cost before it is spent, and says it.

STUDY_FORECAST=off leaves the measuring out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from study.config import DataSummary, Origin, TrialConfig, UserError
from study.disk.layout import cache_path
from study.errors import located_errors
from study.model.building import build_autoencoder
from study.session.cost import Candidate, Cost, cost, data_line, lines, network_line, to_measure, training_line
from study.session.feature_networks import places
from study.session.plan import Plan, first_configs
from study.session.resuming import recorded_instrument
from study.tuning.cluster import Cluster, Resources, room
from study.tuning.measuring import Asked, Measured, measure

KNOWN_TRIALS = 64
"""Trials that are asked of the space to measure some of them."""

LARGE = 2e13
"""A study of so many multiply-adds, over all images and epochs that are left, is measured at its start.

Two cores (AMD EPYC) train about 1e12 a minute. Measuring takes some 20 seconds.
"""


class Forecast(NamedTuple):
    """What was found.

    Attributes:
        cost: What is left of the study costs; None if it could not be measured.
        lines: The same in words.
        resources: What a trial gets, with its memory if that is known and it fits; one trial at once if it does not.
    """

    cost: Cost | None
    lines: list[str]
    resources: Resources


def is_wanted() -> bool:
    """Whether costs are to be measured."""
    return os.environ.get("STUDY_FORECAST", "").lower() not in ("off", "0", "no")


def forecast(plan: Plan, cluster: Cluster, screen: Console, done: int = 0) -> Cost | None:
    """Measures on the cluster, and says what the trials that are left cost and how many of them fit into memory.

    Args:
        plan: The study.
        cluster: It has been joined, if something is to be measured.
        screen: Where a person watches.
        done: Trials that have ended.

    Returns:
        None if nothing was measured.
    """

    def say(line: str) -> None:
        screen.print(line, soft_wrap=True, highlight=False, markup=False)

    try:
        candidates = known_candidates(plan)
    except UserError as error:  # of a trial that may never come
        say(f"the study's cost is not known: {error}")
        return None
    for line in _facts(plan, candidates):
        say(line)
    if not is_wanted() or done >= plan.record.num_trials:
        return None
    found = _measured(plan, cluster, candidates, done)
    for line in found.lines:
        say(line)
    return found.cost


def at_start(plan: Plan, cluster: Cluster, done: int, say: Callable[[str], None]) -> Resources:
    """Says what a new study begins with, and measures what the trials of a large one cost.

    A small study is not measured: that would take long beside it, and its trials are small.

    Args:
        plan: The study.
        cluster: It has been joined.
        done: Trials that have ended.
        say: Shows a line.

    Returns:
        What a trial gets.
    """
    candidates: list[Candidate] = []
    if plan.is_new or is_wanted():
        with contextlib.suppress(UserError):  # of a trial that may never come
            candidates = known_candidates(plan)
    for line in _facts(plan, candidates) if plan.is_new else ():
        say(line)
    if not candidates or not is_wanted() or _work(plan, candidates, done) < LARGE:
        return cluster.resources
    say("measuring what a trial costs")
    found = _measured(plan, cluster, candidates, done)
    for line in found.lines:
        say(line)
    return found.resources


def _work(plan: Plan, candidates: list[Candidate], done: int) -> float:
    """Multiply-adds of a study's networks in the trials that are left, once for each image and epoch."""
    configs = [candidates[index].config for index in to_measure(candidates)]
    each = sum(config.epochs * multiply_adds(config, plan.data.summary) for config in configs) / len(configs)
    return (plan.record.num_trials - done) * plan.data.summary.train_size * each


def multiply_adds(config: TrialConfig, summary: DataSummary) -> int:
    """Multiply-adds of linear and convolutional layers for one image, there and back.

    torch's own counter imports its compiler, a second for each study that starts. A network that cannot run without
    numbers, as a user's own may, counts with its parameters.
    """
    total = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(weight := getattr(layer, "weight", None), Tensor) and weight.ndim > 1:
            total += weight.numel() * min(math.prod(each.shape[2:]) for each in (inputs[0], output))

    with torch.device("meta"), torch.no_grad():
        model = build_autoencoder(config, summary).eval()
        shape = model.first_stage.summary.shape if model.first_stage else summary.shape
        for layer in (*model.encoder.modules(), *model.decoder.modules()):
            layer.register_forward_hook(add)
        try:
            model.encoder(torch.empty(1, *shape))
            model.decoder(torch.empty(1, config.latent_dim))
        except Exception:  # anything may be wrong for a user's own network here, where nothing is computed
            return sum(parameter.numel() for parameter in model.parameters())
    return total


def _measured(plan: Plan, cluster: Cluster, candidates: list[Candidate], done: int) -> Forecast:
    resources, begun, chosen = cluster.resources, time.monotonic(), to_measure(candidates)
    if resources.gpus > 1:
        return Forecast(
            None, [f"trial    its cost on {resources.gpus:g} GPUs is not known: it is measured on one"], resources
        )
    try:
        found = measure(_asked(plan, [candidates[index] for index in chosen]), cluster)
    except UserError as error:
        return Forecast(None, [f"trial    its cost could not be measured: {error}"], resources)
    if not found.figures:
        return Forecast(None, [], resources)
    took, wanted = time.monotonic() - begun, room(resources)
    fit = room(limited := dataclasses.replace(resources, memory=_memory(found)))
    total = cost(
        candidates,
        {position: candidates[index] for position, index in enumerate(chosen)},
        found,
        num_trials=plan.record.num_trials,
        done=done,
        slots=max(1, fit),
        objectives=len(plan.record.objectives),
        eta=plan.eta,
    )
    told = [*lines(total, took, found.at_once), *memory_lines(wanted, fit, limited.memory)]
    return Forecast(total, told, limited if fit else dataclasses.replace(resources, max_concurrent=1))


def _memory(found: Measured) -> int:
    return max((figures.memory or 0 for figures in found.figures.values()), default=0)


def _facts(plan: Plan, candidates: list[Candidate]) -> list[str]:
    """What is known without measuring, a line each: the data, the networks' sizes, epochs and steps of a trial.

    Where a network of the first trials cannot be built, whose trial may never come, the data alone.
    """
    summary, bits = plan.data.summary, 8 if plan.data.train.images.dtype == torch.uint8 else 32
    known = [data_line(summary, len(plan.data.classes), bits)]
    if candidates:
        known.append(network_line(candidates))
        known.append(training_line(candidates, summary.train_size, stops=plan.eta is not None))
    return known


def memory_lines(wanted: int, fit: int, memory: int) -> list[str]:
    """A line if more trials would run at once than fit into memory.

    Args:
        wanted: How many would.
        fit: How many fit.
        memory: Bytes of each.
    """
    if fit >= wanted:
        return []
    if not fit:
        return [f"memory   not even one trial fits, at {memory / 1e9:.2g} GB: make networks or batches smaller"]
    return [f"memory   {fit} of the {wanted} trials fit at once, at {memory / 1e9:.2g} GB each: no more are begun"]


def known_candidates(plan: Plan) -> list[Candidate]:
    """The first trials of a study with the size of their networks.

    Raises:
        UserError: A network, perhaps of the user's own, cannot be built.
    """
    own = plan.request.loaded.space.own
    labels = {origin.label: origin for origin in Origin}
    found = []
    for params in first_configs(plan, KNOWN_TRIALS):
        config = TrialConfig.from_params({key: value for key, value in params.items() if key != "origin"}, own)
        with located_errors(), torch.device("meta"):
            model = build_autoencoder(config, plan.data.summary)
        trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
        found.append(Candidate(config, labels[params["origin"]], trained))
    return found


def _asked(plan: Plan, candidates: list[Candidate]) -> Asked:
    loaded = plan.request.loaded
    configs = [candidate.config for candidate in candidates]
    return Asked(
        [config.to_params() for config in configs],
        plan.data,
        cache_path(plan.request.runs),
        recorded_instrument(plan.record),
        places(loaded),
        perceptual=any(config.perceptual_weight > 0 for config in configs),
        first_stage=any(config.reads_codes for config in configs),
        code=(loaded.path, Path(plan.record.space_path)) if loaded.space.components else None,
    )
