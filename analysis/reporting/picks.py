"""The recommended trials in words: three picks with what each gives up, the knee's depth, and certainty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.plotting import naming
from analysis.plotting.noise import network_noise
from study.results import pareto
from study.results.choice import Choice, choose, replicates_of
from study.results.choice import with_fitted_prior as with_fitted
from study.results.frame import StudyFrames
from study.results.recommendation import METHOD


def trial(frames: StudyFrames, row: int) -> str:
    """A trial with its configuration: `trial 7 (WAE-MMD, d=8, w=1.4, imq kernel)`."""
    kernel = frames.text("kernel")[row]
    suffix = f", {kernel} kernel" if kernel != "none" else ""
    return f"trial {frames.labels()[row]} ({naming.configuration(frames, row)}{suffix})"


def price(frames: StudyFrames, choice: Choice, row: int) -> str:
    """A trial's objectives, each compared with the best on the front."""
    parts = []
    for index, (name, direction) in enumerate(frames.objectives.items()):
        value = frames.column(name)[row]
        best = choice.values[choice.front, index].min() * (-1.0 if direction == "maximize" else 1.0)
        parts.append(f"{naming.short_label(name)} {naming.number(value)} ({_compared(value, best)})")
    return ", ".join(parts)


def _compared(value: float, best: float) -> str:
    if value == best:
        return "the best"
    if not (value > 0 and best > 0):
        return f"{value - best:+.3g}"
    ratio = value / best
    return f"{100 * (ratio - 1):+.0f} %" if 0.5 < ratio < 2 else f"{ratio:.2g} times the best"


def nearly_best(frames: StudyFrames, choice: Choice) -> list[str]:
    """A sentence for each trial that is nearly the best in an objective; none if one trial is the best in all."""
    if choice.role == "best":
        return []
    names = list(frames.objectives)
    found = []
    for pick in choice.picks:
        if pick.objective is None:
            continue
        what = naming.nearly_best(names[pick.objective])
        if pick.row == choice.recommended:
            found.append(f"{what}: the recommended trial.")
        else:
            found.append(f"{what}: {trial(frames, pick.row)}: {price(frames, choice, pick.row)}.")
    return found


def all_picks(frames: StudyFrames, choice: Choice) -> list[str]:
    """The picks from the best reconstruction to the best samples, the recommended one between them."""
    if choice.recommended is None:
        return []
    role = "Best in every objective" if choice.role == "best" else f"The {choice.role}, which is recommended"
    recommended = f"{role}: {trial(frames, choice.recommended)}: {price(frames, choice, choice.recommended)}."
    first, *rest = nearly_best(frames, choice) or [recommended]
    return [first, recommended, *rest] if rest else [recommended]


def certainty(frames: StudyFrames, choice: Choice, between_seeds: Sequence[float]) -> list[str]:
    """How deep the knee is, and how often noise would change the recommended trial.

    Args:
        frames: The study.
        choice: Its front.
        between_seeds: Measured relative standard deviation of each objective, NaN if unknown.
    """
    if choice.role == "best":
        return []
    changed = _changed(frames, choice, between_seeds)
    if choice.role == "knee":
        text = f"The knee is {choice.depth:.2f} deep (0: on the straight line between the front's ends, 1: a corner)."
        return [f"{text} {changed}".strip()]
    if len(choice.candidates) > 2:
        why = f"its deepest point lies {choice.depth:.2f} below the straight line between its ends; "
        why += f"{pareto.CLEAR_DEPTH:g} would be clear, 1 a corner"
    else:
        why = "fewer than three trials can be picked"
    text = (
        f"This front has no clear knee ({why}). The compromise keeps the larger of its two losses as small as "
        "possible, each compared with the best value of the trials that can be picked."
    )
    return [f"{text} {changed}".strip()]


def _changed(frames: StudyFrames, choice: Choice, between_seeds: Sequence[float]) -> str:
    names = list(frames.objectives)
    noise = network_noise(frames, names)
    source = "the measurement's noise"
    if np.isfinite(between_seeds).all():  # seeds share the feature networks, so these have noise beside it
        noise, source = np.hypot(noise, between_seeds), f"{source} and the spread between seeds"
    if not noise.any():
        return ""
    sizes = ", ".join(
        f"{100 * sd:.2g} % in {naming.short_label(n)}" for n, sd in zip(names, noise, strict=True) if sd > 0
    )
    share = 100 * choice.share_changed(noise)
    return f"The {choice.role} would be another trial in {share:.0f} % of repeats under {source} ({sizes})."


def left_out(frames: StudyFrames, choice: Choice) -> list[str]:
    """A sentence that names the trials of the front that are not picked for their samples; none without such trials."""
    found = [out for out in choice.left_out if out.row in choice.front]
    labels = frames.labels()
    sentences = []
    if unmade := [labels[out.row] for out in found if out.metric == METHOD]:
        sentences.append(
            f"Not picked for their samples: {naming.listed(unmade)}. Their method does not make codes follow N(0, I); "
            "sample from the fitted prior."
        )
    parts = [
        f"trial {labels[out.row]} ({naming.short_label(out.metric)} {naming.number(out.value)})"
        for out in found
        if out.metric != METHOD
    ]
    if parts:
        sentences.append(
            "Not picked for their samples, which are among the study's worst in precision or coverage or copy "
            f"training images: {', '.join(parts)}."
        )
    return sentences


def with_fitted_prior(frames: StudyFrames) -> list[str]:
    """What to take if codes come from the prior fitted to them, and how much of the front stays; or nothing."""
    fitted = with_fitted(frames)
    if fitted is None:
        return []
    normal, choice = choose(frames), choose(fitted)
    if choice.recommended is None:
        return []
    best = {"knee": "the knee", "compromise": "a compromise", "best": "the best in every objective"}[choice.role]
    stays = len(np.intersect1d(normal.front, choice.front))
    text = (
        f"With a prior fitted to the codes, take {trial(fitted, choice.recommended)}, {best} of that front: "
        f"{price(fitted, choice, choice.recommended)}."
    )
    return [
        text,
        f"Of the {naming.count(len(normal.front))} on the front under N(0, I), {stays} "
        f"{'stays' if stays == 1 else 'stay'} on the front of {len(choice.front)} under the fitted prior.",
    ]


def seed_noise(frames: StudyFrames, choice: Choice, seeds: list[list[int]]) -> tuple[float, ...]:
    """Relative standard deviation of each objective between seeds of one configuration; NaN if it is not known.

    Pooled over the replicates of each trial (not its own value, which was selected) and over groups of rows that a
    grid trained with several seeds.
    """
    groups = [choice.values[rows] for rows in (*replicates_of(frames).values(), *seeds)]
    groups = [np.abs(group) for group in groups if len(group) > 1 and np.isfinite(group).all()]
    if not groups:
        return (float("nan"),) * len(frames.objectives)
    variances = [group.var(axis=0, ddof=1) / np.maximum(group.mean(axis=0), 1e-12) ** 2 for group in groups]
    freedom = [len(group) - 1 for group in groups]
    return tuple(float(value) for value in np.sqrt(np.average(variances, axis=0, weights=freedom)))
