"""The trials that are being trained: what they are, how far they are, and whether they still report."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from study.config import PARAMS
from study.disk.following import Followed, FollowedTrial
from study.results.frame import StudyFrames

_SHORT = {"method": "", "latent_dim": "d=", "weight": "w="}
"""Names that are left out or abbreviated, as in the names of MLflow's runs."""
_IMPLIED = ("encoder", "regularizer", "epochs", "seed")
"""Parameters that the method says, or that another column has."""


class Running(NamedTuple):
    """A trial that is being trained.

    Attributes:
        number: Its number.
        what: Its method, latent size and weight, and what else varies in the study: `VAE d=8 w=0.047`.
        epochs: Epochs that it has trained.
        planned: Epochs of its plan.
        values: The newest value of each objective that it has measured.
        silent: Seconds since its last epoch; None before its first.
    """

    number: int
    what: str
    epochs: int
    planned: int
    values: dict[str, float]
    silent: float | None


def running_trials(followed: Followed, frames: StudyFrames, now: float) -> list[Running]:
    """The trials that have not ended, of a study that is being run.

    Args:
        followed: The study's trials.
        frames: The same as tables.
        now: Unix seconds.
    """
    varying = _varying(frames)
    found = []
    for row, number in enumerate(frames.trials["number"].tolist()):
        trial = followed.trials[number]
        if trial.outcome is not None:
            continue
        last = max(trial.epochs, default=0)
        found.append(
            Running(
                number=number,
                what=" ".join(filter(None, (_shown(frames, row, name) for name in varying))),
                epochs=last,
                planned=trial.planned,
                values=_newest(trial, frames),
                silent=max(0.0, now - trial.epochs[last]["time"]) if last else None,
            )
        )
    return found


def _varying(frames: StudyFrames) -> list[str]:
    """Method, latent size and weight, then the other parameters in which the trials differ."""
    others = [name for name in (*PARAMS, *frames.own_parameters) if name not in (*_SHORT, *_IMPLIED)]
    return [*_SHORT, *(name for name in others if len(frames.trials[name].unique()) > 1)]


def _shown(frames: StudyFrames, row: int, name: str) -> str:
    """A parameter of a trial: `w=0.047`; "" for one that it does not have."""
    value = frames.trials[name].iloc[row]
    if name == "weight" and frames.trials["regularizer"].iloc[row] == "none":
        return ""
    if isinstance(value, float | np.floating):
        return f"{_SHORT.get(name, f'{name}=')}{value:.3g}" if np.isfinite(value) else ""
    text = str(value)
    return "" if text in ("nan", "none", "None") else f"{_SHORT.get(name, f'{name}=')}{text}"


def _newest(trial: FollowedTrial, frames: StudyFrames) -> dict[str, float]:
    """The newest value of each objective; not every epoch measures them."""
    newest = {}
    for name in frames.objectives:
        measured = [epoch for epoch, record in trial.epochs.items() if name in record]
        if measured:
            newest[name] = trial.epochs[max(measured)][name]
    return newest
