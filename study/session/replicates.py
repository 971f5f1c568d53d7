"""Trials beyond the search: fresh seeds for the Pareto-optimal ones."""

from __future__ import annotations

from study.results.choice import choose
from study.results.frame import load_study
from study.search.ledger import Ledger
from study.session.plan import Plan


def replicate_front(plan: Plan, replicates: int, ledger: Ledger) -> None:
    """Enqueues each Pareto-optimal configuration with seeds that the search has not used, the same for all."""
    frames = load_study(plan.request.runs, plan.request.name)
    first = 1 + int(frames.column("seed")[frames.text("origin") != "replicate"].max())
    seeds = range(first, first + replicates)
    numbers = frames.trials["number"].iloc[choose(frames).front]
    for number in numbers:
        ledger.replicate(int(number), seeds)
