"""Describes a study's runs: their names, params and tags, and the note in the UI."""

from __future__ import annotations

import itertools
from pathlib import Path

from study.config import TrialConfig, UserError
from study.disk import study_json as record
from study.disk.files import read_json
from study.disk.layout import PROCESS, attempt_folders
from study.disk.study_json import StudyRecord
from study.tracking.store import redact
from study.tracking.views import chart_address, table_address


def read_study(directory: Path) -> StudyRecord:
    """Reads `study.json`. Its `id` is checked and so safe in a search condition.

    Raises:
        UserError: The file is missing or damaged.
    """
    study = record.read_study(directory)
    if study is None:
        raise UserError(f"{directory} holds no study: there is no study.json")
    return study


def trial_name(number: int, config: TrialConfig) -> str:
    """A run's name, such as `0007 WAE-MMD d=8 w=1.4`."""
    weight = "" if config.regularizer == "none" else f" w={config.weight:.3g}"
    return f"{number:04d} {config.method} d={config.latent_dim}{weight}"


def trial_device(folder: Path) -> str:
    """What a trial was trained on: `cpu`, `cuda`, `unknown`, or both in order if its attempts differ."""
    found = [(read_json(attempt / PROCESS) or {}).get("device") for _, attempt in attempt_folders(folder)]
    return ", ".join(dict.fromkeys(str(device) for device in found if device)) or "unknown"


def shared_tags(study: StudyRecord) -> dict[str, str]:
    """Tags of every run of a study, to search by. The UI shows a commit only beside the name of a source."""
    tags = {"study.id": study.id, "study.name": study.name}
    tags |= {"mlflow.source.type": "LOCAL", "mlflow.source.name": _source(study)}
    if study.git_commit:
        tags["mlflow.source.git.commit"] = study.git_commit
    tags["data.hash"] = study.data.hash
    return tags


def _source(study: StudyRecord) -> str:
    """What ran: the command up to its first option, `python -m study.run`, or the function that a script called."""
    call, is_call, _ = (study.command or "").partition("(")
    words = itertools.takewhile(lambda word: not word.startswith("-") or word == "-m", call.split())
    return call if is_call and "." in call else " ".join(words) or study.space


def study_params(study: StudyRecord) -> dict[str, str]:
    """Params of the parent run: what never changes. `num_trials` may grow, so it is a tag."""
    names = ("seed", "epochs", "sampler", "grid")
    params = {name: str(value) for name in names if (value := getattr(study, name)) is not None}
    params["dataset"] = study.data.name
    params["objectives"] = ", ".join(f"{name} ({direction})" for name, direction in study.objectives.items())
    return params


def study_tags(study: StudyRecord, outcome: str, experiment_id: str) -> dict[str, str]:
    """Tags of the parent run."""
    versions = study.versions or {}
    return {
        **shared_tags(study),
        "study.space": study.space,
        "study.space_hash": study.space_hash,
        "study.num_trials": str(study.num_trials),
        "study.outcome": outcome,
        **({"study.changes": "; ".join(change.line for change in study.changes[-40:])} if study.changes else {}),
        **{f"version.{package}": str(version) for package, version in list(versions.items())[:50]},
        "mlflow.note.content": _note(study, experiment_id),
    }


def _note(study: StudyRecord, experiment_id: str) -> str:
    """The parent run's description in the UI: the study's question, and the views that answer it."""
    axes = [f"`{name}` ({direction})" for name, direction in study.objectives.items()]
    answer, trials = chart_address(study, experiment_id), table_address(study, experiment_id)
    command = redact(study.command or "")
    return "\n\n".join(
        [
            # Links below the first line work only after "Show more" is pressed.
            f"[Open the answer]({answer}) · [All trials]({trials}) · **{study.question}**",
            f"One child run per trial. Trade-off: {' against '.join(axes)}.",
            "*The answer* shows the trials that completed: the trade-off as a scatter plot, parallel coordinates of "
            "what varies, and below them the pictures of the ten best side by side. *All trials* is a table with what "
            "varies and the objectives. Trials that were stopped early carry the tag `trial.outcome` = `stopped`: "
            "their last values come from a shorter training.",
            "When the study has ended, the artifact `report/report.html` holds its answer and every figure. "
            'The artifact `history.jsonl.gz` holds every epoch: `pandas.read_json("history.jsonl.gz", lines=True)`.',
            f"Written by `{command}` from the study's folder, which holds the same numbers and the figures.",
        ]
    )
