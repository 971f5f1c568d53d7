"""What the disk and the ledger's database refuse, as one line that says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from study.config import UserError
from study.disk.files import disk_error_reason
from study.search.storage import lost_database

RESUME = "make room or give permission, then add --resume; nothing is lost"


@contextlib.contextmanager
def explained_errors(directory: Path) -> Iterator[None]:
    """Turns such an error within the block into a `UserError`.

    Args:
        directory: The study's folder.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (why := disk_error_reason(error)) is not None:
            raise UserError(f"{directory}: {why}: {RESUME}") from error
        if (why := lost_database(error)) is not None:
            raise UserError(
                f"the ledger's database: {why}: make it answer again, then add --resume; nothing is lost"
            ) from error
        raise
