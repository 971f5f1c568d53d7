"""The error that a user can correct, and where in a user's own code an error comes from."""

from __future__ import annotations

import contextlib
import os
import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

_OURS = f"{Path(__file__).parent}{os.sep}"
_STANDARD = sysconfig.get_path("stdlib")
_INSTALLED = ("site-packages", "dist-packages")  # Debian's own Python has the second


class UserError(Exception):
    """A mistake that the user can correct. The commands print it as one line and exit with status 2.

    Args:
        message: What to do. Line breaks, which a name or path in it may have, become spaces.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(message.splitlines()))


def located(error: BaseException) -> str | None:
    """An error of a user's own code in one line: file, line, kind and message; None if no such code was involved.

    A ledger that fails beneath the code, while it asks for a parameter, is no error of the code.
    """
    if _is_the_ledgers(error):
        return None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    if not frames:
        return None
    asked = re.search(r"""suggest_\w+\(\s*["'](\w+)["']""", frames[-1].line or "")
    parameter = f"{asked[1]}: " if asked else ""
    message = " ".join(str(error).split())
    return f"{frames[-1].filename}, line {frames[-1].lineno}: {parameter}{type(error).__name__}: {message}"


@contextlib.contextmanager
def located_errors(*, others: bool = True) -> Iterator[None]:
    """Turns an error of a user's own code into one line with its place.

    Args:
        others: Whether errors that no such code has raised become one line too; if not, they pass as they are, as those
            of a ledger that fails always do.

    Raises:
        UserError: The code raised an error.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        place = located(error)
        if place is None and (not others or _is_the_ledgers(error)):
            raise
        raise UserError(place or f"{type(error).__name__}: {error}") from error


def _is_the_ledgers(error: BaseException) -> bool:
    kind = type(error)  # by name, because importing Optuna is slow, and the commands' help needs none
    return (kind.__module__, kind.__name__) == ("optuna.exceptions", "StorageInternalError")


def _is_users(file: str) -> bool:
    installed = any(part in _INSTALLED for part in Path(file).parts)
    return not (installed or file.startswith((_OURS, _STANDARD, "<frozen")))
