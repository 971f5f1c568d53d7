"""Picks one trial of a study: by its number, by a bound on its error, or one of the three picks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from study.built_in import BUILT_IN
from study.config import PARAMS, TrialConfig, UserError
from study.disk.layout import trial_path
from study.disk.study_json import StudyRecord
from study.results.choice import choose
from study.results.frame import StudyFrames, load_study

_MSE = "val/reconstruction_mse"


@dataclasses.dataclass(frozen=True)
class Selection:
    """A trial and its study.

    Attributes:
        directory: The study's folder, absolute.
        study: What `study.json` holds.
        number: The trial.
        config: What was trained.
        outcome: `completed`, `stopped`, `failed`, `running` or `interrupted`.
        metrics: The metrics of its last epoch, by recorded name (`val/…`, `test/…`).
    """

    directory: Path
    study: StudyRecord
    number: int
    config: TrialConfig
    outcome: str
    metrics: dict[str, float]

    @property
    def trial_directory(self) -> Path:
        """The trial's folder."""
        return trial_path(self.directory, self.number)

    def describe(self) -> str:
        """The trial in a few words."""
        config = self.config
        parts = [config.method, f"latent_dim {config.latent_dim}"]
        if config.target_error:
            parts.append(f"target_error {config.target_error:.4g}")
        elif config.regularizer != "none":
            parts.append(f"weight {config.weight:.4g}")
        parts += [f"{name} {self.metrics[name]:.4g}" for name in self.study.objectives if name in self.metrics]
        return f"trial {self.number} of {self.directory.name}: {', '.join(parts)}"


def select(
    runs_dir: Path,
    name: str,
    *,
    trial: int | None = None,
    knee: bool = False,
    nearly_best: str | None = None,
    max_mse: float | None = None,
) -> Selection:
    """Picks one trial of a study.

    Args:
        runs_dir: The folder of all studies.
        name: The study.
        trial: The trial's number.
        knee: Pick the recommended trial, which is the default.
        nearly_best: Pick the trial that is nearly the best in this objective, with or without `val/`.
        max_mse: Of the front's trials with at most this reconstruction error, pick the best in the other objectives.

    Raises:
        UserError: More than one way to pick is given, there is no such study or trial, or no trial fits.
    """
    if (trial is not None) + knee + (nearly_best is not None) + (max_mse is not None) > 1:
        raise UserError("give only one of --trial, --knee, --nearly-best and --max-mse")
    frames = load_study(runs_dir, name)
    if trial is not None:
        rows = np.flatnonzero(frames.column("number") == trial)
        if not rows.size:
            known = "there is none yet" if frames.trials.empty else f"choose from 0 to {frames.trials['number'].max()}"
            raise UserError(f"--trial {trial}: study {name!r} has no such trial: {known}")
        row = int(rows[0])
    else:
        row = _row_of_front(frames, nearly_best, max_mse)
    found = frames.trials.iloc[row]
    # A study recorded before a parameter existed trained at what is now its default.
    own = frames.study.described
    names = (*PARAMS, *own.parameters, *(name for name in BUILT_IN.parameters if name in found))
    params = {name: found[name] for name in names if pd.notna(found[name])}
    metrics = {column: float(found[column]) for column in frames.trials if column.startswith(("val/", "test/"))}
    return Selection(
        directory=(runs_dir / name).absolute(),
        study=frames.study,
        number=int(found["number"]),
        config=TrialConfig.from_params(
            {key: getattr(value, "item", lambda v=value: v)() for key, value in params.items()}, own
        ),
        outcome=str(found["outcome"]),
        metrics={column: value for column, value in metrics.items() if np.isfinite(value)},
    )


def _row_of_front(frames: StudyFrames, nearly_best: str | None, max_mse: float | None) -> int:
    choice = choose(frames)
    if not choice.front.size:
        raise UserError(frames.nothing("no trial was trained to its end"))
    if choice.recommended is None and max_mse is None:
        raise UserError(f"study {frames.name}: {choice.caution} Choose a trial with --trial or --max-mse")
    if nearly_best is not None:
        known = [name.rpartition("/")[2] for name in frames.objectives]
        wanted = nearly_best.rpartition("/")[2]
        if wanted not in known:
            raise UserError(f"--nearly-best {nearly_best}: no objective of the study, choose from {', '.join(known)}")
        return next(pick.row for pick in choice.picks if pick.objective == known.index(wanted))
    if max_mse is None:
        return choice.picks[0].row
    errors = frames.column(_MSE)[choice.front]
    within = choice.front[errors <= max_mse]
    if not within.size:
        raise UserError(f"--max-mse {max_mse:g}: no trial is that good, the smallest {_MSE} is {np.nanmin(errors):.4g}")
    others = [index for index, name in enumerate(frames.objectives) if name != _MSE]
    keys = choice.values[within][:, others] if others else choice.values[within]
    return int(within[np.lexsort(keys.T[::-1])[0]])
