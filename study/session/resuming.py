"""When a study may be resumed, and the command that does it."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.changes import in_force
from study.config import DataSummary, UserError
from study.disk.code import carried_path, changed_files
from study.disk.files import read_json
from study.disk.layout import OUTCOME, set_aside, trial_folders
from study.disk.study_json import StudyRecord, read_study
from study.source import gather
from study.space import LoadedSpace, builtin_spaces, load_space


def is_moved(record: StudyRecord, data: DataSummary) -> bool:
    """Whether the study's own data, a folder or file, lie at another path now, with the same content."""
    both = _has_path(record.data) and _has_path(data)
    return both and record.data.name != data.name and record.data.hash == data.hash


def _has_path(data: DataSummary) -> bool:
    return data.name.startswith(("folder:", "npz:", "npy:"))


def check_resumable(
    record: StudyRecord,
    loaded: LoadedSpace,
    data: DataSummary,
    directions: Mapping[str, str],
    settings: Mapping[str, Any],
    directory: Path,
) -> None:
    """Refuses to resume a study under other conditions than it began with.

    Args:
        record: The study's record.
        loaded: The space given now.
        data: The data found now.
        directions: The space's objectives.
        settings: Those options of the command that must stay, by name; None for one that was not given.
        directory: The study's folder.

    Raises:
        UserError: Something differs; the message says what.
    """
    name = record.name
    if record.space != loaded.name:
        raise UserError(
            f"study {name!r} was begun with --space {record.space}: choose another --study for {loaded.name}"
        )
    if not loaded.is_same(record.space_hash, record.data):
        changed = ", ".join(changed_files(loaded, directory)) or str(loaded.path)
        raise UserError(f"{changed} has changed since study {name!r} began: restore it, or choose another --study")
    if record.data.name != data.name and not is_moved(record, data):
        both = _has_path(record.data) and _has_path(data)
        differs = ", which holds other images" if both else ""
        raise UserError(
            f"study {name!r} was begun with --dataset {record.data.name}, not {data.name}{differs}: choose another "
            "--study"
        )
    if record.data.hash != data.hash:
        raise UserError(
            f"the data of {data.name} have changed since study {name!r} began (the path is the same, the content is "
            "not): restore them, or choose another --study"
        )
    if list(record.objectives.items()) != list(directions.items()):
        raise UserError(
            f"study {name!r} has other objectives than its space: restore study.json, or choose another --study"
        )
    if "classifier" in record.evaluation:  # of version 0.1
        raise _other_instrument(record)
    for flag, value in settings.items():
        if value is not None and value != getattr(record, flag):
            raise UserError(
                f"study {name!r} was begun with {_option(record, flag)}: leave it out, or choose another --study"
            )


def begins_anew(record: StudyRecord, loaded: LoadedSpace, directory: Path) -> bool:
    """Whether a study takes another space file: its own has changed, and no trial has completed, so nothing is lost."""
    outcomes = [(read_json(trial / OUTCOME) or {}).get("outcome") for _, trial in trial_folders(directory)]
    has_changed = record.space == loaded.name and not loaded.is_same(record.space_hash, record.data)
    return has_changed and "completed" not in outcomes


def kept_options(record: StudyRecord, loaded: LoadedSpace) -> dict[str, Any]:
    """The options of a study that begins anew, as they were recorded.

    What depends on a grid is left to its space, and so is the sampler if the space has one, or a feature network that
    the space brought.
    """
    brought = record.feature_network in record.described.of_kind("feature_network")
    names = [
        "seed",
        "epochs",
        "image_size",
        "storage",
        *([] if brought else ["feature_network"]),
        *(["sampler"] if loaded.space.sampler is None else []),
    ]
    if not (record.grid or loaded.space.grid):
        names += ["num_trials", "scheduler", "eta"]
    kept = {name: getattr(record, name) for name in names}
    return {**kept, "warm_start": record.warm_start and record.warm_start.study}


def _option(record: StudyRecord, flag: str) -> str:
    value, option = getattr(record, flag), f"--{flag.replace('_', '-')}"
    return f"no {option}" if value is None else f"{option} {value}"


def recorded_instrument(record: StudyRecord) -> str | None:
    """The feature network that the study's first session used, or was told to use."""
    return (record.evaluation.get("instrument") or {}).get("name", record.feature_network)


def check_same_instrument(record: StudyRecord, evaluation: Mapping[str, Any]) -> None:
    """Refuses to resume a study whose trials were measured with other feature networks.

    Args:
        record: The study's record.
        evaluation: As `StudyRecord.evaluation`, of this session.

    Raises:
        UserError: The networks differ, so the scores of old and new trials cannot be compared.
    """
    if record.evaluation and record.instruments != record.replace(evaluation=dict(evaluation)).instruments:
        raise _other_instrument(record)


def _other_instrument(record: StudyRecord) -> UserError:
    return UserError(
        f"study {record.name!r} was measured with another feature network, so its scores cannot be compared with new "
        "ones: resume it with the code that began it, or choose another --study"
    )


def recorded_space(record: StudyRecord, directory: Path) -> str:
    """What `load_space` needs to load a study's space again: its name, or the path of its file. Runs none of its code.

    Args:
        record: The study's record.
        directory: The study's folder. Its copy counts where the file itself is gone or has changed.
    """
    if record.space in builtin_spaces() and load_space(record.space).is_same(record.space_hash, record.data):
        return record.space
    path = Path(record.space_path)
    for candidate in (path, carried_path(record, directory)):
        with contextlib.suppress(OSError, UserError):
            if gather(candidate).is_same(record.space_hash):
                return str(candidate)
    return str(path) if path.is_file() else record.space


def resume_command(record: StudyRecord, runs_dir: Path) -> str:
    """The command that resumes a study, quoted for a shell; the record holds no password, so neither does the command.

    Args:
        record: The study's record.
        runs_dir: The folder of all studies, as the user named it.
    """
    if call := _call_with_objects(record, runs_dir):
        return call
    options = {
        "--space": recorded_space(record, runs_dir / record.name),
        "--dataset": record.data.name,
        "--data-dir": record.data_dir,
        "--study": record.name,
        "--runs-dir": runs_dir,
        "--storage": record.storage,
    }
    given = [str(part) for option in options.items() if option[1] is not None for part in option]
    return shlex.join(["python", "-m", "study.run", *given, "--resume"])


def _call_with_objects(record: StudyRecord, runs_dir: Path) -> str | None:
    """The Python call that resumes a study of objects, which no command can name; None for another study."""
    begun = re.match(r"study\.run_study\((space\b|'[^']*')(, data=data\b)?", record.command or "")
    has_sampler = re.search(r", sampler=sampler\b", record.command or "") is not None
    if begun is None or (begun[1] != "space" and begun[2] is None and not has_sampler):
        return None
    data = "data" if begun[2] else repr(record.data.name)
    given = {"data_dir": record.data_dir, "name": record.name, "runs_dir": str(runs_dir)}
    options = "".join(f", {name}={value!r}" for name, value in given.items() if value is not None)
    options += ", sampler=sampler" if has_sampler else ""
    return f"study.run_study({begun[1]}, data={data}{options}, resume=True)"


def begin_anew(directory: Path) -> str:
    """Sets a study's files aside; a line that says so, and what `study control` had changed."""
    record = read_study(directory)
    dropped = "; ".join(in_force(record.changes).lines()) if record is not None else ""
    past = set_aside(directory)
    note = f"note: the space has changed and no trial had completed, so the study begins anew; {past} has the rest"
    return note + (f"; no longer in force: {dropped}" if dropped else "")
