"""What a check of `study.doctor` gives, and what several checks ask of a folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from study.disk.files import disk_error_reason
from study.disk.study_json import StudyRecord


class Finding(NamedTuple):
    """One line: what was checked, what was found, and what to do about it, "" if all is well."""

    subject: str
    seen: str
    remedy: str = ""


def nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(parent for parent in (path, *path.parents) if parent.exists())


def unwritable(path: Path) -> str | None:
    """Writes a file into the nearest existing folder and removes it; why that fails, None if it does not."""
    probe = nearest(path) / f".doctor-{uuid.uuid4().hex}"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return disk_error_reason(error) or error.strerror or str(error)
    return None


def check_database(url: str, given: str | None, study: str | None = None) -> Iterator[Finding]:
    """Whether a database of ledgers answers, and knows the study."""
    from study.tuning.diagnosis import look_at_storage  # imports Ray

    yield Finding("ledger", *look_at_storage(url, given, study))


def check_changes(directory: Path, record: StudyRecord, given: str | None) -> Iterator[Finding]:
    """Whether what `study control` has recorded can be read."""
    from study.tuning.diagnosis import look_at_changes  # imports Ray

    if (found := look_at_changes(directory, record, given)) is not None:
        yield Finding("changes", *found)
