"""The format of recorded times."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """The present time, ISO 8601 in UTC to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
