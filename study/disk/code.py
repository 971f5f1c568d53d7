"""The code that a study carries: a copy of its space's file and of the modules beside it."""

from __future__ import annotations

from pathlib import Path

from study.components import NO_COMPONENTS, Components
from study.disk.files import write_atomic
from study.disk.layout import code_path
from study.disk.study_json import StudyRecord
from study.errors import UserError
from study.source import Source, gather
from study.space import LoadedSpace, load_space


def carry(loaded: LoadedSpace, directory: Path) -> None:
    """Copies a space's code into the study's folder.

    Two kinds of space are not copied: a built-in one, and a space without components that a script or notebook
    defines.

    Raises:
        OSError: The folder cannot be written.
    """
    is_object = not loaded.space.components and loaded.source != _on_disk(loaded.path)
    if loaded.is_builtin or is_object:
        return
    for name, content in loaded.source.files.items():
        target = code_path(directory) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, content)


def _on_disk(path: Path) -> Source | None:
    return gather(path) if path.is_file() else None


def changed_files(loaded: LoadedSpace, directory: Path) -> list[str]:
    """The files of a space whose code differs from the copy that a study carries; none if it carries no copy."""
    folder = code_path(directory)
    if not (folder / loaded.path.name).is_file():
        return []
    carried = gather(folder / loaded.path.name).digests
    found = loaded.source.digests
    return [str(loaded.path.parent / name) for name in carried | found if carried.get(name) != found.get(name)]


def carried_path(record: StudyRecord, directory: Path) -> Path:
    """Where the copy of the space's own file lies, if the study carries one."""
    return code_path(directory) / Path(record.space_path).name


def code_for_trials(record: StudyRecord, directory: Path) -> tuple[Path, Path] | None:
    """The copy of the space's file that trials run, and the file itself; None if trials need no code of the space."""
    return (carried_path(record, directory), Path(record.space_path)) if record.components else None


def own_components(record: StudyRecord, directory: Path) -> Components:
    """The components of a study's space, from the code that the study carries. Nothing is run if it has none.

    Raises:
        UserError: The code is missing, has changed, or does not run.
    """
    if not record.components:
        return NO_COMPONENTS
    path = carried_path(record, directory)
    try:
        is_same = gather(path).is_same(record.space_hash)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}: restore the study's code") from error
    if not is_same:  # looked at before anything is run
        raise UserError(f"{path.parent} has changed since the study began: restore the code there")
    return load_space(str(path)).space.own
