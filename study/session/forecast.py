"""Measures what a study will cost before it is spent, and says it.

STUDY_FORECAST=off leaves the measuring out.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

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
from study.tuning.cluster import Cluster, room
from study.tuning.measuring import Asked, Measured, measure

KNOWN_TRIALS = 64
"""Trials that are asked of the space to measure some of them."""


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
    for line in (*lines(total, took, found.at_once), *memory_lines(room(cluster.resources), found)):
        say(line)
    return total


def facts(plan: Plan) -> list[str]:
    """What is known without measuring, a line each: the data, the networks' sizes, epochs and steps of a trial.

    Where a network of the first trials cannot be built, whose trial may never come, the data alone.
    """
    try:
        return _facts(plan, known_candidates(plan))
    except UserError:
        return _facts(plan, [])


def _facts(plan: Plan, candidates: list[Candidate]) -> list[str]:
    summary, bits = plan.data.summary, 8 if plan.data.train.images.dtype == torch.uint8 else 32
    known = [data_line(summary, len(plan.data.classes), bits)]
    if candidates:
        known.append(network_line(candidates))
        known.append(training_line(candidates, summary.train_size, stops=plan.eta is not None))
    return known


def memory_lines(wanted: int, found: Measured) -> list[str]:
    """A line of advice if more trials would run at once than fit into memory.

    Args:
        wanted: How many run at once.
        found: What was measured.
    """
    if found.fits is None or found.fits >= wanted:
        return []
    each = max((figures.memory or 0 for figures in found.figures.values()), default=0)
    fit = f"{found.fits} of the {wanted} trials fit" if found.fits else "not even one trial fits"
    return [f"memory   {fit} into it at once, at {each / 1e9:.2g} GB each: add --max-concurrent {max(1, found.fits)}"]


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
