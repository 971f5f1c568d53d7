"""From trials to a recommendation: which trials may be chosen, which are Pareto-optimal, and which to take."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from study.built_in import BUILT_IN, METHODS
from study.config import FEW_IMAGES, Origin, TrialConfig
from study.measure.metrics import FITTED, metric_name
from study.results import pareto
from study.results.frame import StudyFrames
from study.results.recommendation import COPIES, DIVERSITY, METHOD, LeftOut, Pick, left_out_of, picks_of, share_changed

RECONSTRUCTION = "reconstruction_mse"


class Choice(NamedTuple):
    """A study's trials, as rows of `frames.trials`.

    Attributes:
        values: Objectives, low is good (a maximised one is negated), [trials, k].
        eligible: Trials that may join the front (`pareto.may_join_front`) and have finite objectives, boolean [trials].
        front: Rows on the Pareto front, sorted by the first objective.
        left_out: Eligible trials that are not picked for their samples, because these copy training images, are among
            the study's worst in precision or coverage, or come from N(0, I) and the method is not made for that. They
            stay on the front, and one may be nearly the best reconstruction.
        members: Trials among which the recommended one is found, boolean [trials].
        candidates: Rows on their Pareto front, sorted like `front`.
        picks: The recommended trial and the nearly best in each objective, see `recommendation.picks_of`; none if there
            is a caution.
        caution: Why no trial may be recommended; "" if one may.
    """

    values: np.ndarray
    eligible: np.ndarray
    front: np.ndarray
    left_out: tuple[LeftOut, ...]
    members: np.ndarray
    candidates: np.ndarray
    picks: tuple[Pick, ...]
    caution: str = ""

    @property
    def recommended(self) -> int | None:
        """The row to recommend: the knee, or the compromise of a front without a clear one; None without picks."""
        return self.picks[0].row if self.picks else None

    @property
    def depth(self) -> float:
        """How deep the knee of the candidates is, see `pareto.depths`; 0 without a front."""
        return float(pareto.depths(self.values[self.candidates]).max()) if self.candidates.size else 0.0

    @property
    def role(self) -> str:
        """What the recommended trial is: `best` in every objective, `knee`, or `compromise` if no knee is clear."""
        if len(self.front) < 2 and self.recommended in self.front:
            return "best"
        return "knee" if len(self.candidates) > 2 and self.depth >= pareto.CLEAR_DEPTH else "compromise"

    def share_changed(self, noise: np.ndarray) -> float:
        """How often noise of this size would change the recommended trial, see `recommendation.share_changed`."""
        return share_changed(self.values, self.members, noise)


def choose(frames: StudyFrames, objectives: tuple[str, ...] | None = None) -> Choice:
    """Finds the front and what to recommend on the study's objectives, or on some of them."""
    names = tuple(frames.objectives) if objectives is None else objectives
    directions = [frames.objectives.get(name, "minimize") for name in names]
    columns = [frames.column(name) for name in names]
    values = pareto.minimised(np.stack(columns, axis=1) if columns else np.empty((len(frames.trials), 0)), directions)
    trials = zip(frames.text("outcome"), _missing_weight(frames), frames.text("origin"), strict=True)
    may_join = np.array([pareto.may_join_front(*trial) for trial in trials], dtype=bool)
    eligible = may_join & np.isfinite(values).all(axis=1) & bool(names)
    unjudged = [index for index, name in enumerate(names) if name.endswith(RECONSTRUCTION)]
    metrics = [metric_name(name) for name in names]
    under = under_fitted if any(name in FITTED.values() for name in metrics) else str
    diversity = {name: frames.column(name) for name in map(under, DIVERSITY)}
    from_normal = any(name in FITTED for name in metrics) and with_fitted_prior(frames) is not None
    unmade = np.isin(frames.text("regularizer"), _unmade(frames)) & from_normal
    copies = under(COPIES)
    choice = chosen_from(values, eligible, diversity, unjudged, frames.column(copies), copies, unmade)
    caution = too_little_data(frames) or _nothing_learned(frames, eligible)
    return choice._replace(picks=(), caution=caution) if caution else choice


def too_little_data(frames: StudyFrames) -> str:
    """Why no trial is recommended if there are too few images to measure with; "" if there are enough."""
    held_out = min((record.data.held_out for record in frames.records), default=FEW_IMAGES)
    if held_out >= FEW_IMAGES:
        return ""
    return (
        f"Too little data to say anything: {held_out} images to measure with, {FEW_IMAGES} are the least. So there is "
        "no recommendation."
    )


def _nothing_learned(frames: StudyFrames, eligible: np.ndarray) -> str:
    """Why no trial is recommended if none of them beats the mean image; "" if one does, if that is not known,
    or if the study does not trade off that error."""
    error = f"val/{RECONSTRUCTION}"
    errors, epochs = frames.column(error)[eligible], frames.column("epochs")[eligible]
    if error not in frames.objectives or not np.isfinite(errors).any():
        return ""
    best = float(np.nanmin(errors))
    if not frames.study.is_blind(best):
        return ""
    share = best / frames.study.mean_image_error
    return (
        "No completed trial of the search beats the mean image: the best reconstruction keeps "
        f"{100 * share:.0f} % of its error. The choice among such trials is noise, so there is no recommendation. "
        f"Begin a study with more epochs (--epochs above {int(epochs.max())}), or with smaller weights if all units "
        "collapse."
    )


def _unmade(frames: StudyFrames) -> list[str]:
    """Regularizers that do not shape codes for draws from N(0, I)."""
    known = BUILT_IN.of_kind("regularizer") | frames.study.described.of_kind("regularizer")
    return [name for name, described in known.items() if not described.is_made_for_normal]


def under_fitted(column: str) -> str:
    """The column that holds the same metric under the fitted prior: `val/fitted_fid` for `val/sample_fid`.

    A metric without such a counterpart keeps its column.
    """
    split, slash, name = column.rpartition("/")
    return split + slash + FITTED.get(name, name)


def with_fitted_prior(frames: StudyFrames) -> StudyFrames | None:
    """The study as if it had traded off samples from the fitted prior; None if it did, or no trial measured them."""
    objectives = {under_fitted(name): direction for name, direction in frames.objectives.items()}
    if len(objectives) < len(frames.objectives):
        return None  # it traded off the samples of both
    if objectives == frames.objectives or not all(np.isfinite(frames.column(name)).any() for name in objectives):
        return None
    records = tuple(record.model_copy(update={"objectives": objectives}) for record in frames.records)
    return dataclasses.replace(frames, records=records)


def chosen_from(
    values: np.ndarray,
    eligible: np.ndarray,
    diversity: Mapping[str, np.ndarray],
    unjudged: Collection[int] = (0,),
    copies: np.ndarray | None = None,
    copies_name: str = COPIES,
    unmade: np.ndarray | None = None,
) -> Choice:
    """The choice among trials given as arrays.

    Args:
        values: Minimised objectives, [trials, k].
        eligible: Trials that may join the front, boolean [trials].
        diversity: The metrics of `recommendation.DIVERSITY`, [trials] each; NaN where they were not measured.
        unjudged: Objectives that say nothing of samples, such as the reconstruction error: the trial that is nearly
            the best in one may have the worst samples.
        copies: The metric `copies`, [trials]; NaN where it was not measured.
        copies_name: Its column.
        unmade: Trials whose method is not made for the prior that was sampled from, boolean [trials].
    """
    front = front_of(values, eligible)
    left_out = left_out_of(diversity, eligible, copies, copies_name)
    members = eligible & ~np.isin(np.arange(len(eligible)), [trial.row for trial in left_out])
    made = members if unmade is None or not (members & ~unmade).any() else members & ~unmade
    left_out += tuple(LeftOut(int(row), METHOD, np.nan) for row in np.flatnonzero(members & ~made))
    candidates = front_of(values, members)
    # A plain autoencoder is an end of the front that shapes its knee, but it is not picked for its samples.
    if candidates.size and not made[candidates[pareto.recommended(values[candidates])]]:
        members, candidates = made, front_of(values, made)
    picks = picks_of(values, candidates, front, unjudged, front_of(values, made))
    return Choice(values, eligible, front, left_out, members, candidates, picks)


def _missing_weight(frames: StudyFrames) -> np.ndarray:
    """Share of the full weight that each trial missed at its last epoch, [trials]; NaN for trials without a weight."""
    weight = full_weight(frames)
    return 1 - frames.column("train/weight") / np.where(weight > 0, weight, np.nan)


def full_weight(frames: StudyFrames) -> np.ndarray:
    """The weight w of each trial, [trials]: its parameter, or what it came to if the trial requested an error."""
    adapted = frames.column("target_error") > 0
    return np.where(adapted, frames.column("train/weight"), frames.column("weight"))


def front_of(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Rows on the Pareto front of the marked ones, sorted by the first objective, then the others.

    Args:
        values: Minimised objectives, [n, k].
        members: Boolean, [n].
    """
    rows = np.flatnonzero(members)
    front = rows[pareto.non_dominated(values[rows])]
    return front[np.lexsort(values[front].T[::-1])] if front.size else front


def replicates_of(frames: StudyFrames) -> dict[int, list[int]]:
    """Rows of the comparable replicates, by the row of the trial that they replicate.

    That trial is not among them: it was chosen for its values, so these are not a fair draw.
    """
    study, number, outcome = frames.text("study"), frames.column("number"), frames.text("outcome")
    replicate_of, replicate = frames.column("replicate_of"), frames.text("origin") == Origin.REPLICATE
    missing = _missing_weight(frames)
    originals = {(study[row], number[row]): int(row) for row in np.flatnonzero(~replicate)}
    copies: dict[int, list[int]] = {}
    for row in np.flatnonzero(replicate):
        original = originals.get((study[row], replicate_of[row]))
        if original is not None and pareto.is_comparable(outcome[row], missing[row]):
            copies.setdefault(original, []).append(int(row))
    return copies


def seed_groups(frames: StudyFrames, rows: np.ndarray) -> list[list[int]]:
    """Groups of two or more of the rows that share every parameter but the seed, as in a grid over seeds.

    A seed counts once in a group: equal trials of equal seeds would look like no spread at all.
    """
    names = ["study", *(name for name in TrialConfig().to_params() if name != "seed"), *frames.own_parameters]
    columns, seed = [frames.text(name) for name in names], frames.text("seed")
    groups: dict[tuple[str, ...], dict[str, int]] = {}
    for row in rows:
        key = tuple(str(column[row]) for column in columns)
        groups.setdefault(key, {}).setdefault(str(seed[row]), int(row))
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def highlights(frames: StudyFrames, at_most: int = 10) -> list[int]:
    """Rows to name in figures: picks, ends of the front, each method's best trial, baselines, the rest of the front.

    The default of ten has room for the first three to five and the best trials of five methods or more.
    """
    choice = choose(frames)
    method, origin = frames.text("method"), frames.text("origin")
    rows = [pick.row for pick in choice.picks] + choice.front[[0, -1]].tolist() if choice.front.size else []
    order = list(METHODS)  # plain methods before their variants, in case there is no room for all
    for name in sorted(set(method[choice.eligible]), key=lambda m: (order.index(m) if m in order else len(order), m)):
        front = front_of(choice.values, choice.eligible & (method == name))
        rows.append(int(front[pareto.recommended(choice.values[front])]))
    rows += np.flatnonzero(choice.eligible & (origin == Origin.BASELINE)).tolist() + choice.front.tolist()
    return list(dict.fromkeys(rows))[:at_most]


def latent_groups(latent_dim: np.ndarray, at_most: int = 4) -> list[tuple[str, np.ndarray]]:
    """Trials by latent size, as (label, boolean [trials]): one group per size if they are few, else ranges of sizes."""
    sizes = np.unique(latent_dim[np.isfinite(latent_dim)])
    groups = []
    for part in np.array_split(sizes, min(at_most, len(sizes))) if sizes.size else []:
        label = f"d = {part[0]:.0f}" if len(part) == 1 else f"d = {part[0]:.0f} to {part[-1]:.0f}"
        groups.append((label, (latent_dim >= part[0]) & (latent_dim <= part[-1])))
    return groups
