"""What a study found, in sentences: the recommended trial, its price, the best method, and how certain all this is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analysis import replicates
from analysis.plotting import naming
from analysis.reporting import picks, second_opinion
from study.results import pareto
from study.results.choice import Choice, choose, front_of, seed_groups
from study.results.frame import StudyFrames

FEW_SEEDS = 4


class MethodRow(NamedTuple):
    """A method's best results.

    Attributes:
        method: Its name.
        completed: Number of its trials that can be chosen.
        on_front: Number of them on the overall front.
        best: Best value of each objective over its trials.
        share: Hypervolume of the method's own front divided by that of all trials, both on log objectives with a
            reference point slightly beyond the worst trial; NaN unless there are two positive objectives.
    """

    method: str
    completed: int
    on_front: int
    best: tuple[float, ...]
    share: float


class Summary(NamedTuple):
    """The summary as numbers and sentences.

    Attributes:
        sentences: In reading order.
        methods: One row per method with completed trials, the largest share first.
        noise: Relative standard deviation between seeds of one configuration, by objective. Pooled over the replicates
            of each trial (not its own value, which was selected) and over configurations that a grid trained with
            several seeds; NaN if there are none.
    """

    sentences: list[str]
    methods: list[MethodRow]
    noise: tuple[float, ...]


def summarise(frames: StudyFrames) -> Summary:
    """Summarises a study; if no trial has completed, the only sentence says so."""
    choice = choose(frames)
    seeds = seed_groups(frames, np.flatnonzero(choice.eligible))
    noise = picks.seed_noise(frames, choice, seeds)
    methods = _methods(frames, choice)
    if choice.front.size and choice.caution:
        return Summary([choice.caution], methods, noise)
    if choice.recommended is None:
        return Summary(_nothing_completed(frames), methods, noise)
    sentences = [_recommendation(frames, choice)]
    sentences += picks.certainty(frames, choice, noise)
    sentences += picks.nearly_best(frames, choice)
    sentences += picks.left_out(frames, choice)
    sentences += second_opinion.sentences(frames, choice)
    sentences += picks.with_fitted_prior(frames)
    sentences += _test(frames, choice.recommended)
    sentences += _by_method(methods)
    sentences += _certainty(frames, choice, noise, next((rows for rows in seeds if choice.recommended in rows), []))
    return Summary(sentences, methods, noise)


def _nothing_completed(frames: StudyFrames) -> list[str]:
    """That there is no answer, and why if trials have failed."""
    is_running = any(record.outcome == "running" for record in frames.records)
    sentences = [f"No trial has completed with both objectives{' yet' if is_running else ''}."]
    failed = np.flatnonzero(frames.text("outcome") == "failed")
    if failed.size:
        first, reason = frames.labels()[failed[0]], frames.text("reason")[failed[0]]
        sentences.append(f"{naming.count(failed.size)} failed; the first, trial {first}: {reason}.")
    return sentences


def _recommendation(frames: StudyFrames, choice: Choice) -> str:
    assert choice.recommended is not None
    if choice.eligible.sum() == 1:
        why = "the only one that can be chosen"
    else:
        why = {"knee": "the knee of the front", "compromise": "a compromise", "best": "the best in every objective"}[
            choice.role
        ]
    values = picks.price(frames, choice, choice.recommended)
    return f"Take {picks.trial(frames, choice.recommended)}, {why}: {values}, on validation images."


def _test(frames: StudyFrames, knee: int) -> list[str]:
    found = []
    for name in frames.objectives:
        column = "test/" + name.rpartition("/")[2]
        value = frames.column(column)[knee]
        if np.isfinite(value):
            found.append(f"{naming.short_label(name)} {naming.number(value)}")
    return [f"On the test images, which played no part in the choice, it has {' and '.join(found)}."] if found else []


def _methods(frames: StudyFrames, choice: Choice) -> list[MethodRow]:
    method = frames.text("method")
    rows = []
    positive = (
        bool(choice.front.size) and choice.values.shape[1] == 2 and bool((choice.values[choice.eligible] > 0).all())
    )
    log = np.log(np.where(choice.values > 0, choice.values, np.nan)) if positive else choice.values
    reference = log[choice.eligible].max(axis=0) + 0.05 if positive else np.zeros(2)
    whole = pareto.hypervolume(log[choice.front], reference) if positive else 1.0
    for name in naming.methods_in_order(method):
        members = choice.eligible & (method == name)
        if not members.any():
            continue
        lowest = choice.values[members].min(axis=0, keepdims=True)
        # `minimised` a second time restores the sign of a maximised objective.
        best = tuple(pareto.minimised(lowest, list(frames.objectives.values()))[0].tolist())
        share = pareto.hypervolume(log[front_of(choice.values, members)], reference) / whole if positive else np.nan
        rows.append(MethodRow(name, int(members.sum()), int((method[choice.front] == name).sum()), best, float(share)))
    return sorted(rows, key=lambda row: -row.share) if positive else rows


def _by_method(methods: list[MethodRow]) -> list[str]:
    if len(methods) < 2 or not np.isfinite(methods[0].share):
        return []
    first, *rest = methods
    others = ", ".join(f"{row.method} {100 * row.share:.0f} %" for row in rest)
    return [
        f"Of the area that all trials together dominate, {first.method} alone covers {100 * first.share:.0f} %, "
        f"{others}. Methods with more trials had more chances."
    ]


def _certainty(frames: StudyFrames, choice: Choice, noise: tuple[float, ...], same: list[int]) -> list[str]:
    """How certain the recommendation is; `same` are the rows of the knee's configuration, if a grid has several."""
    if not noise or not np.isfinite(noise).all():
        return [
            "Every configuration was trained with one seed, so differences between neighbours on the front may be "
            "chance: replicate the trials that matter before you choose between them."
        ]
    spread = " and ".join(
        f"{100 * sd:.0f} % in {naming.short_label(n)}" for n, sd in zip(frames.objectives, noise, strict=True)
    )
    assert choice.recommended is not None
    text = f"Between seeds of one configuration, the standard deviation is {spread}."
    found = replicates.info(frames)
    sentences = [*_own_seeds(frames, same), *_replicated(found)]
    knee = np.abs(choice.values[choice.recommended])
    # By chance, two single runs differ by less than 1.96 * sqrt(2) standard deviations 19 times in 20.
    apart = np.abs(np.abs(choice.values) - knee) > 1.96 * np.sqrt(2) * np.array(noise) * knee
    is_tested = found.recommended is not None and len(found.values[found.recommended]) > 1
    tested = {choice.recommended, *same, *(found.rows.tolist() if is_tested else [])}
    near = [row for row in np.flatnonzero(choice.eligible & ~apart.any(axis=1)) if row not in tested]
    which = "unreplicated " if is_tested else ""
    if near:
        names = naming.listed([frames.labels()[row] for row in near]) + (" (unreplicated)" if is_tested else "")
        return [*sentences, f"{text} Within that noise, the recommended trial cannot be distinguished from {names}."]
    return [*sentences, f"{text} No other {which}trial is within that noise of the recommended one in every objective."]


def _own_seeds(frames: StudyFrames, same: list[int]) -> list[str]:
    """The mean over a grid's seeds of the knee's configuration; the knee was chosen among them partly by luck."""
    if not same:
        return []
    parts = []
    for name in frames.objectives:
        mean, low, high = (naming.number(float(of(frames.column(name)[same]))) for of in (np.mean, np.min, np.max))
        parts.append(f"{naming.short_label(name)} {mean} ({low} to {high})")
    return [f"The study trained that configuration with {len(same)} seeds; their mean is {' and '.join(parts)}."]


def _replicated(found: replicates.Replicates) -> list[str]:
    """The knee's replicates, and the replicated trials it does not differ from; nothing with fewer than two."""
    knee = found.recommended
    if knee is None or len(found.values[knee]) < 2:
        return []
    parts = [
        f"{naming.short_label(name)} {naming.number(found.mean[knee, i])} (95 % interval "
        f"{naming.number(found.low[knee, i])} to {naming.number(found.high[knee, i])}; "
        f"in the search {naming.number(found.search[knee, i])})"
        for i, name in enumerate(found.objectives)
    ]
    sentences = [
        f"Trained again with {len(found.values[knee])} fresh seeds, the recommended trial has {' and '.join(parts)}."
    ]
    if len(found.rows) > 1:
        alike = replicates.alike(found, knee)
        test = "(Welch's t-test on the fresh seeds, 5 %, Holm's correction)"
        result = (
            f"does not differ significantly from {naming.listed(alike)}" if alike else "differs from every other one"
        )
        sentences.append(f"Of the {len(found.rows)} replicated trials, it {result} {test}.")
        if alike and min(map(len, found.values)) < FEW_SEEDS:
            sentences[-1] += " So few seeds detect only large differences: those trials need not be equally good."
    return sentences
