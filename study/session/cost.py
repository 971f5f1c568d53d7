"""What a study will cost: from figures of a few configurations to trials, hours and memory, in numbers and words."""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from study.config import DataSummary, Origin, TrialConfig
from study.search.rungs import expected_share, rung_epochs
from study.tuning.measuring import Measured, evaluations

MOST_MEASURED = 4
TRIAL_SECONDS = 0.5
"""What a trial takes beside its training and measuring: files, and the way to and from Ray."""
END_SECONDS = 8.0
"""The end of a study: figures, report, MLflow."""


class Candidate(NamedTuple):
    """A trial that the study may have.

    Attributes:
        config: What it trains.
        origin: Why it exists.
        parameters: How many its network has.
    """

    config: TrialConfig
    origin: Origin
    parameters: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """What the trials of a study that are left cost.

    Attributes:
        trials: How many are left.
        slots: How many run at once.
        shortest: Seconds of the shortest of the known trials, trained to its end.
        longest: Seconds of the longest.
        whole: Wall-clock seconds if no trial stops early.
        usual: Wall-clock seconds if trials stop as the rule usually stops them.
        preparation: Seconds of what is trained once, before; 0 of what is cached.
        memory: Bytes of the process of the largest trial; None if it is not known.
        gpu: Largest share of a GPU's memory that a trial holds; None without a GPU.
    """

    trials: int
    slots: int
    shortest: float
    longest: float
    whole: float
    usual: float
    preparation: Mapping[str, float]
    memory: int | None = None
    gpu: float | None = None


def to_measure(candidates: Sequence[Candidate]) -> list[int]:
    """Which candidates to measure: the largest network, the smallest one, then the most frequent other kinds."""
    order = sorted(range(len(candidates)), key=lambda index: -candidates[index].parameters)
    counts = Counter(_kind(candidate.config) for candidate in candidates)
    chosen = list(dict.fromkeys([order[0], order[-1]]))
    known = {_kind(candidates[index].config) for index in chosen}
    for kind, _ in counts.most_common():
        if kind not in known and len(chosen) < MOST_MEASURED:
            chosen.append(next(index for index in order if _kind(candidates[index].config) == kind))
    return chosen


def _kind(config: TrialConfig) -> tuple[object, ...]:
    """What decides the cost of a step beside the latent size; the most important first."""
    terms = (config.perceptual_weight > 0, config.total_variation_weight > 0, config.target_error > 0)
    return (config.network, config.width, config.batch_size, config.precision, terms, config.regularizer,
            config.encoder, config.likelihood, config.kernel)  # fmt: skip


def trial_seconds(
    candidate: Candidate, measured: Mapping[int, Candidate], found: Measured
) -> tuple[float, float, float]:
    """Seconds of a trial's epochs, evaluations and end, by the most similar configuration that was measured.

    Args:
        candidate: The trial.
        measured: The candidates that were measured, by position as in `found`.
        found: Their figures.
    """

    def unlike(index: int) -> tuple[object, ...]:
        other = measured[index]
        differs = [mine != theirs for mine, theirs in zip(_kind(candidate.config), _kind(other.config), strict=True)]
        return (*differs, abs(math.log(max(1, candidate.parameters) / max(1, other.parameters))))

    figures = found.figures[min(found.figures, key=unlike)]
    epochs = candidate.config.epochs
    return epochs * figures.epoch, evaluations(epochs) * figures.evaluation, figures.end


def cost(
    candidates: Sequence[Candidate],
    measured: Mapping[int, Candidate],
    found: Measured,
    *,
    num_trials: int,
    done: int,
    slots: int,
    objectives: int,
    eta: float | None,
) -> Cost:
    """What is left of a study costs.

    Args:
        candidates: Its first trials; those that follow cost as much as the searched ones among these.
        measured: As of `trial_seconds`.
        found: What was measured.
        num_trials: Trials of the whole study.
        done: How many of them have ended.
        slots: How many run at once.
        objectives: How many the study has.
        eta: As of `study.search.rungs`.
    """
    seconds = [trial_seconds(candidate, measured, found) for candidate in candidates]
    searched = [index for index, candidate in enumerate(candidates) if not candidate.origin.is_fixed]
    pool = searched or [*range(len(candidates))]
    whole, usual = [], []
    for number in range(done, num_trials):
        index = number if number < len(candidates) else pool[number % len(pool)]
        training, measuring, end = seconds[index]
        share, ends = 1.0, 1.0
        if not candidates[index].origin.is_fixed:
            share, ends = expected_share(number + 1, candidates[index].config.epochs, objectives, eta)
        whole.append(TRIAL_SECONDS + training + measuring + end)
        usual.append(TRIAL_SECONDS + share * (training + measuring) + ends * end)
    known = [TRIAL_SECONDS + sum(parts) for parts in seconds]
    preparation = sum(found.preparation.values()) + END_SECONDS
    return Cost(
        trials=num_trials - done,
        slots=slots,
        shortest=min(known),
        longest=max(known),
        whole=makespan(whole, slots) + preparation,
        usual=makespan(usual, slots) + preparation,
        preparation=found.preparation,
        memory=max((each.memory for each in found.figures.values() if each.memory), default=None),
        gpu=max((each.gpu for each in found.figures.values() if each.gpu), default=None),
    )


def training_line(candidates: Sequence[Candidate], train_size: int, *, stops: bool) -> str:
    """Epochs and steps of a trial, and after how many steps trials are first compared if they may stop early."""
    epochs = [candidate.config.epochs for candidate in candidates]
    steps = [train_size // min(candidate.config.batch_size, train_size) for candidate in candidates]
    whole = [n * each for n, each in zip(epochs, steps, strict=True)]
    first = [rung_epochs(n)[0] * each for n, each in zip(epochs, steps, strict=True) if n > 1]

    def spread(numbers: list[int]) -> str:
        return between(f"{min(numbers):,}", f"{max(numbers):,}")

    compared = f"; trials are first compared after {spread(first)} of them" if stops and first else ""
    noun = "epochs" if max(epochs) > 1 else "epoch"
    return f"training {spread(epochs)} {noun} of {spread(steps)} steps, {spread(whole)} steps in all{compared}"


def makespan(durations: Sequence[float], slots: int) -> float:
    """Seconds until all have ended, if each begins in their order as soon as a slot is free."""
    ends = [0.0] * max(1, slots)
    for seconds in durations:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def data_line(summary: DataSummary, classes: int, bits: int) -> str:
    """Shape, splits, classes and total variance of a data set."""
    shape = "x".join(map(str, summary.shape))
    sizes = f"{summary.train_size:,} to train, {summary.validation_size:,} to validate, {summary.test_size:,} to test"
    labels = f"{classes} classes" if classes > 1 else "no classes"
    return f"data     {shape}, {bits} bits a value; {sizes}; {labels}; total variance {summary.total_variance:.4g}"


def network_line(candidates: Sequence[Candidate]) -> str:
    """The smallest and the largest network."""
    names = ", ".join(sorted({candidate.config.network for candidate in candidates}))
    counts = sorted(candidate.parameters for candidate in candidates)
    return f"network  {names}: {between(count(counts[0]), count(counts[-1]))} parameters"


def lines(found: Cost, took: float, at_once: int) -> list[str]:
    """A cost in words.

    Args:
        found: The cost.
        took: Seconds that measuring took.
        at_once: How many processes measured at the same time.
    """
    held = "" if found.memory is None else f", {found.memory / 1e9:.2g} GB of memory"
    held += "" if found.gpu is None else f", {100 * found.gpu:.0f} % of a GPU's memory (predicted)"
    side = f" with {at_once} at once" if at_once > 1 else ""
    told = [
        f"trial    {between(duration(found.shortest), duration(found.longest))}{held}; measured{side} in {took:.0f} s"
    ]
    shared = [f"{name} {'cached' if not s else 'about ' + duration(s)}" for name, s in found.preparation.items()]
    told.append(f"before   {', '.join(shared)}")
    trials = f"{found.trials} trial{'s' * (found.trials != 1)}, {found.slots} at once"
    total = f"study    {trials}: about {duration(found.usual)}"
    if duration(found.whole) != duration(found.usual):
        total += f" as trials are usually stopped, {duration(found.whole)} if none is"
    return [*told, total]


def between(low: str, high: str) -> str:
    """Two numbers as a range, or one if they are the same."""
    return low if low == high else f"{low} to {high}"


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best, with two digits."""
    size, unit = next(
        (each for each in ((1, "s"), (60, "min"), (3600, "hours")) if seconds < 99.5 * each[0]), (86400, "days")
    )
    shown = seconds / size
    return f"{shown:.2g} {unit}" if shown < 9.95 else f"{shown:.0f} {unit}"


def count(number: int) -> str:
    """A number of parameters with two digits."""
    rounded = float(f"{number:.2g}")
    return f"{rounded / 1e6:g} million" if rounded >= 1e6 else f"{rounded:,.0f}"
