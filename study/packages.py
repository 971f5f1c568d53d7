"""Checks that Python finds this project's packages, and not others of the same names that come first on its path."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from study.config import UserError

_HOME = Path(__file__).parents[1]
_NAMES = ("analysis", "search_spaces")


def check_packages() -> None:
    """Refuses a folder or file that hides one of this project's packages.

    `python -m` puts the working directory first on Python's path, a script or notebook its own folder. The command
    `study` puts no such folder there.

    Raises:
        UserError: There is one.
    """
    for name in _NAMES:
        spec = importlib.util.find_spec(name)
        places = [] if spec is None else list(spec.submodule_search_locations or [spec.origin or ""])
        if not any(Path(place).resolve() == (_HOME / name).resolve() for place in places):
            found = next(iter(places), "nothing")
            raise UserError(
                f"{found} hides this project's package {name!r}, since it comes first on Python's path: use the "
                "command `study` instead of python -m, start elsewhere, or rename it"
            )


def check_working_directory() -> None:
    """Refuses a package `study` of others in the working directory, where the trials' processes look first.

    Raises:
        UserError: There is one.
    """
    found = Path.cwd() / "study"
    is_package = (found / "__init__.py").is_file() or found.with_suffix(".py").is_file()
    if is_package and found.resolve() != (_HOME / "study").resolve():
        raise UserError(
            f"{found} would hide this project's package 'study' from the trials, whose processes look in the working "
            "directory first: start elsewhere, or rename it"
        )
