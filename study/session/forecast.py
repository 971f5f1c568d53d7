"""Measures what a study will cost before it is spent, and says it.

STUDY_FORECAST=off leaves the measuring out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from study.config import Origin, TrialConfig, UserError
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


LARGE = 1e12
"""Work of a study, as `_work` counts it, from which a study measures at its start.

Two processes of two cores (AMD EPYC) took one minute for 8e10 (digits), 6.5 for 5e12 (MNIST, fully connected) and 24
for 3e12 (CIFAR-10, convolutions). Measuring takes some 20 seconds.
"""

Say = Callable[[str], None]
"""Shows the user a line."""


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


class Forecasting:
    """Says what a study begins with; measures what its trials cost while the driver prepares what they share.

    A small study is not measured: that would take long beside it, and its trials are small.

    Args:
        plan: The study.
        cluster: It has been joined.
        done: Trials that have ended.
        say: Shows a line; an earlier session has said what a study begins with.
    """

    def __init__(self, plan: Plan, cluster: Cluster, done: int, say: Say) -> None:
        self._resources, self._say = cluster.resources, say
        self._found: list[Forecast] = []
        self._thread: threading.Thread | None = None
        candidates: list[Candidate] = []
        if plan.is_new or is_wanted():
            with contextlib.suppress(UserError):  # of a trial that may never come
                candidates = known_candidates(plan)
        for line in _facts(plan, candidates) if plan.is_new else ():
            say(line)
        if not candidates or not is_wanted() or _work(candidates, plan, done) < LARGE:
            return
        preparing = self._preparing = threading.Event()
        preparing.set()

        def work() -> None:
            # Where Ray is left meanwhile, any error may come, and nobody waits for the answer.
            with contextlib.suppress(Exception):
                self._found.append(_measured(plan, cluster, candidates, done, preparing.is_set))

        self._thread = threading.Thread(target=work, name="forecast", daemon=True)
        self._thread.start()

    def resources(self) -> Resources:
        """What a trial gets; says what was found. Call it when all is prepared: it waits for what is still measured."""
        if self._thread is None:
            return self._resources
        self._preparing.clear()
        self._thread.join()
        for found in self._found:
            for line in found.lines:
                self._say(line)
            return found.resources
        return self._resources


def _work(candidates: list[Candidate], plan: Plan, done: int) -> float:
    """About how many numbers a study's networks compute in the trials that are left, over all images and epochs."""
    pixels = math.prod(plan.data.summary.shape)
    each = sum(c.config.epochs * (c.parameters + 50 * pixels) for c in candidates) / len(candidates)
    return (plan.record.num_trials - done) * plan.data.summary.train_size * each


def _measured(
    plan: Plan,
    cluster: Cluster,
    candidates: list[Candidate],
    done: int,
    is_preparing: Callable[[], bool] | None = None,
) -> Forecast:
    resources, begun, chosen = cluster.resources, time.monotonic(), to_measure(candidates)
    if resources.gpus > 1:
        return Forecast(
            None, [f"trial    its cost on {resources.gpus:g} GPUs is not known: it is measured on one"], resources
        )
    try:
        found = measure(_asked(plan, [candidates[index] for index in chosen]), cluster, is_preparing)
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
