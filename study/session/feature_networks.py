"""Where the feature networks of a user's own lie, for all processes of a study."""

from __future__ import annotations

from pathlib import Path

from study.disk.layout import code_path
from study.measure.own_networks import Places
from study.space import LoadedSpace


def places(loaded: LoadedSpace, directory: Path | None = None) -> Places:
    """Where functions of the user's own are looked for.

    Args:
        loaded: The study's space.
        directory: The study's folder, with the copy of the space's code that trials use; None before there is one.
    """
    if loaded.is_builtin:
        return Places(here=Path.cwd())
    file = loaded.path if directory is None else code_path(directory) / loaded.path.name
    brings = bool(loaded.space.own.of_kind("feature_network"))
    return Places(file if brings else None, loaded.path.parent, Path.cwd())
