"""Measures what a study will cost before it is spent, says it, and keeps more trials than memory allows from beginning.

STUDY_FORECAST=off leaves it out.
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import torch
from rich.console import Console

from study.config import Origin, TrialConfig, UserError
from study.disk.layout import cache_path
from study.model.building import build_autoencoder
from study.session.cost import Candidate, Cost, cost, data_line, lines, network_line, to_measure
from study.session.feature_networks import places
from study.session.plan import Plan, first_configs
from study.session.resuming import recorded_instrument
from study.tuning.cluster import Cluster, Resources, room
from study.tuning.measuring import Asked, Measured, measure

KNOWN_TRIALS = 64
"""Trials that are asked of the space to measure some of them."""
LEAST_WORK = 2e11
"""Training images times epochs times parameters, over all trials, from which on a study measures at its start: minutes
on two cores. To measure a shorter one would take about as long as the study; it has 8e10 with the digits' defaults.
"""


def is_wanted() -> bool:
    """Whether costs are to be measured."""
    return os.environ.get("STUDY_FORECAST", "").lower() not in ("off", "0", "no")


def forecast(
    plan: Plan, cluster: Cluster, screen: Console, done: int = 0, least_work: float | None = None
) -> Cost | None:
    """Measures on the cluster, says what the trials that are left cost, and limits how many run at once.

    Args:
        plan: The study.
        cluster: It has been joined. Its resources change if memory allows fewer trials than fit otherwise.
        screen: Where a person watches.
        done: Trials that have ended.
        least_work: Measure nothing if less is left; by default `LEAST_WORK`.

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
    bits = 8 if plan.data.train.images.dtype == torch.uint8 else 32
    say(data_line(plan.data.summary, len(plan.data.classes), bits))
    say(network_line(candidates))
    left = plan.record.num_trials - done
    least = LEAST_WORK if least_work is None else least_work
    if not is_wanted() or left <= 0 or _work(candidates, plan.data.summary.train_size, left) < least:
        return None
    begun = time.monotonic()
    chosen = to_measure(candidates)
    try:
        found = measure(_asked(plan, [candidates[index] for index in chosen]), cluster)
    except UserError as error:
        say(f"trial    its cost could not be measured: {error}")
        return None
    if not found.figures:
        return None
    took = time.monotonic() - begun
    cluster.resources, warnings = within_memory(cluster.resources, found)
    total = cost(
        candidates,
        {position: candidates[index] for position, index in enumerate(chosen)},
        found,
        num_trials=plan.record.num_trials,
        done=done,
        slots=max(1, room(cluster.resources)),
        objectives=len(plan.record.objectives),
        eta=plan.eta,
    )
    for line in (*lines(total, took, found.at_once), *warnings):
        say(line)
    return total


def within_memory(resources: Resources, found: Measured) -> tuple[Resources, list[str]]:
    """What a trial gets, so that no more begin than memory allows, and a line that says so.

    A number that the user gave stays, with a warning.

    Args:
        resources: What was asked for.
        found: What was measured.
    """
    memory = max((figures.memory or 0 for figures in found.figures.values()), default=0)
    wanted, fits = room(resources), found.fits
    if fits is None or fits >= wanted:
        return resources, []
    each = f"each takes about {memory / 1e9:.2g} GB of memory"
    if resources.max_concurrent is not None:
        at_once = f"{fits} at once" if fits else "none"
        return resources, [f"warning: --max-concurrent {resources.max_concurrent}: {each}, and {at_once} may fit"]
    if not fits:  # Ray would wait for ever for a node that has so much
        line = f"warning: one trial at once, and {each}, more than is free: it may end for lack of memory"
        return dataclasses.replace(resources, max_concurrent=1), [line]
    line = (
        f"memory   {fits} trial{'s' * (fits > 1)} at once instead of {wanted}: {each}; --max-concurrent overrules this"
    )
    return dataclasses.replace(resources, memory=memory), [line]


def known_candidates(plan: Plan) -> list[Candidate]:
    """The first trials of a study with the size of their networks."""
    own = plan.request.loaded.space.own
    labels = {origin.label: origin for origin in Origin}
    found = []
    for params in first_configs(plan, KNOWN_TRIALS):
        config = TrialConfig.from_params({key: value for key, value in params.items() if key != "origin"}, own)
        with torch.device("meta"):
            model = build_autoencoder(config, plan.data.summary)
        trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
        found.append(Candidate(config, labels[params["origin"]], trained))
    return found


def _work(candidates: list[Candidate], images: int, trials: int) -> float:
    each = [candidate.config.epochs * candidate.parameters for candidate in candidates]
    return images * trials * sum(each) / len(each)


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
