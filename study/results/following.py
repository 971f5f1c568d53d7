"""A study that is followed, as tables that are made within hundredths of a second."""

from __future__ import annotations

from study.disk.following import Followed
from study.disk.study_json import StudyRecord
from study.results.frame import StudyFrames, build_frames, trial_row


def last_epochs(followed: Followed, study: StudyRecord) -> StudyFrames:
    """The study's tables as `load_study` makes them, but `history` holds only the last epoch of each trial.

    So the times in `trials` are those of that epoch. To make tables of every epoch takes ten times as long.
    """
    trials = followed.trials.values()
    rows = [trial_row(study, trial.number, trial.content, trial.outcome or {}) for trial in trials]
    last = [{**trial.epochs[max(trial.epochs)], "number": trial.number} for trial in trials if trial.epochs]
    return build_frames(study, rows, last, {})
