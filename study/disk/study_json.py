"""`study.json`: what a study is, written when it begins and checked when it is taken up again."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study.config import DataSummary, UserError
from study.disk.files import read_json, write_json
from study.disk.layout import STUDY_NAME, study_path
from study.disk.timestamp import now
from study.space import LoadedSpace, builtin_spaces, load_space

FORMAT = 1
_ID = re.compile(r"[A-Za-z0-9-]{1,100}")
_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy", "scikit-learn")


def read_study(directory: Path) -> dict[str, Any] | None:
    """A study's record, or None where no study is. What it holds is of the kind it should be.

    Raises:
        UserError: The record is damaged, or of a later format.
    """
    path = study_path(directory)
    if not path.exists():
        return None
    record = read_json(path)
    if record is None:
        raise UserError(f"{path} is not readable as JSON: restore it, or choose another --name")
    if record.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {record.get('format')!r}, this version reads {FORMAT}: use the version that wrote it"
        )
    for field, is_sound in _FIELDS.items():
        if not is_sound(record.get(field)):
            seen = repr(record[field])[:60] if field in record else "missing"
            raise UserError(f"{path} is damaged, {field} is {seen}: restore it, or choose another --name")
    return record


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31


def _or_none(is_sound: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_sound(value)


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_objectives(value: Any) -> bool:
    return isinstance(value, dict) and len(value) > 0 and all(v in ("minimize", "maximize") for v in value.values())


def _is_data(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("name")) and _is_text(value.get("hash"))


def _is_eta(value: Any) -> bool:
    return isinstance(value, int | float) and 1 < value < 1e6


def _is_warm_start(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_text(value.get("study")) or not isinstance(value.get("points"), list):
        return False
    plain = (str, int, float)
    return all(isinstance(p, dict) and all(isinstance(v, plain) for v in p.values()) for p in value["points"])


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


# What other code relies on, in the order of the file. What may be None may be missing: earlier versions lacked it.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "id": _matches(_ID),
    "name": _matches(STUDY_NAME),
    "space": _is_text,
    "space_hash": _is_text,
    "question": _is_text,
    "objectives": _is_objectives,
    "data": _is_data,
    "seed": lambda value: _is_count(value, least=0),
    "epochs": _or_none(_is_count),
    "sampler": _is_text,
    "scheduler": _or_none(_is_text),
    "eta": _or_none(_is_eta),
    "num_trials": _is_count,
    "command": _or_none(_is_text),
    "data_dir": _or_none(_is_text),
    "storage": _or_none(_is_text),
    "warm_start": _or_none(_is_warm_start),
    "versions": _or_none(_is_object),
    "git_commit": _or_none(_is_text),
    "created": _is_text,
    "references": _or_none(_is_object),
    "outcome": _or_none(_is_text),
}


def new_study(
    name: str, loaded: LoadedSpace, data: DataSummary, directions: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The record of a study about to begin; `settings` holds seed, epochs, num_trials, sampler and command."""
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "name": name,
        "space": loaded.name,
        "space_path": str(loaded.path),
        "space_hash": loaded.hash,
        "question": loaded.space.question,
        "grid": loaded.space.grid,
        "objectives": dict(directions),
        "data": dataclasses.asdict(data),
        **settings,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "git_commit": _git_commit(),
        "created": now(),
        "references": {},
        "outcome": "running",
    }


def check_resumable(
    record: Mapping[str, Any],
    loaded: LoadedSpace,
    data: DataSummary,
    directions: Mapping[str, str],
    settings: Mapping[str, Any],
) -> None:
    """Refuses to go on with a study under other conditions than it began with.

    Args:
        record: The study's record.
        loaded: The space given now.
        data: The data found now.
        directions: The space's objectives.
        settings: `seed`, `epochs` and `sampler` where the user gave them, None elsewhere.

    Raises:
        UserError: Something differs; the message says what.
    """
    name = record["name"]
    if record["space"] != loaded.name:
        raise UserError(
            f"study {name!r} was begun with --space {record['space']}: choose another --name for {loaded.name}"
        )
    if record["space_hash"] != loaded.hash:
        raise UserError(f"{loaded.path} has changed since study {name!r} began: restore it, or choose another --name")
    if record["data"]["name"] != data.name:
        raise UserError(f"study {name!r} was begun with --dataset {record['data']['name']}: choose another --name")
    if record["data"]["hash"] != data.hash:
        raise UserError(
            f"the data of {data.name} have changed since study {name!r} began: restore them, or choose another --name"
        )
    if list(record["objectives"].items()) != list(directions.items()):
        raise UserError(
            f"study {name!r} has other objectives than its space: restore study.json, or choose another --name"
        )
    for flag, value in settings.items():
        if value is not None and value != record.get(flag):
            raise UserError(
                f"study {name!r} was begun with --{flag} {record.get(flag)}: leave it out, or choose another --name"
            )


def write_study(directory: Path, record: Mapping[str, Any]) -> None:
    """Writes the record atomically."""
    write_json(study_path(directory), record)


def recorded_space(record: Mapping[str, Any]) -> str:
    """What `load_space` needs to load a study's space again: its name, or the path of its file."""
    name, path = record["space"], Path(record.get("space_path", ""))
    is_builtin = name in builtin_spaces() and load_space(name).hash == record["space_hash"]
    return name if is_builtin or not path.is_file() else str(path)


def resume_command(record: Mapping[str, Any], runs_dir: Path) -> str:
    """The command that resumes a study, quoted for a shell; the record holds no password, so neither does the command.

    Args:
        record: The study's record.
        runs_dir: The folder of all studies, as the user named it.
    """
    options = {
        "--space": recorded_space(record),
        "--dataset": record["data"]["name"],
        "--data-dir": record.get("data_dir"),  # earlier versions did not record it
        "--study": record["name"],
        "--runs-dir": runs_dir,
        "--storage": record.get("storage"),
    }
    given = [str(part) for option in options.items() if option[1] is not None for part in option]
    return shlex.join(["python", "-m", "study.run", *given, "--resume"])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _git_commit() -> str | None:
    """The commit of this code, `-dirty` where it has been changed; None where neither Git nor an image tells."""
    if commit := os.environ.get("STUDY_GIT_COMMIT"):
        return commit
    here = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
