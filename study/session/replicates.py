"""Trials beyond the search: fresh seeds for the Pareto-optimal ones."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from study.ranges import RANGES
from study.results.choice import choose, with_fitted_prior
from study.results.frame import load_study
from study.search.ledger import Ledger
from study.session.plan import Plan


def replicate_front(plan: Plan, replicates: int, ledger: Ledger) -> None:
    """Enqueues each Pareto-optimal configuration with seeds that the search has not used, the same for all.

    Those of both fronts, with samples from N(0, I) and from the fitted prior, and the trials recommended on them.
    """
    frames = load_study(plan.request.runs, plan.request.name)
    used = frames.column("seed")[frames.text("origin") != "replicate"]
    seeds = fresh_seeds({int(seed) for seed in used}, replicates)
    choices = [choose(each) for each in (frames, with_fitted_prior(frames)) if each is not None]
    rows = {row for choice in choices for row in (*choice.front, *(pick.row for pick in choice.picks[:1]))}
    for number in frames.trials["number"].iloc[sorted(rows)]:
        ledger.replicate(int(number), seeds)


def fresh_seeds(used: Collection[int], count: int) -> list[int]:
    """The seeds that follow the largest one used; after the largest that there is, the smallest unused ones."""
    largest = int(RANGES["seed"].high)
    candidates = itertools.chain(range(1 + max(used), 1 + largest), range(largest))
    return list(itertools.islice((seed for seed in candidates if seed not in used), count))
