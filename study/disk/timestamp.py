"""Recorded times: how they are written, and read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def now() -> str:
    """The present time, ISO 8601 in UTC to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def milliseconds(iso: Any, default: int | None = None) -> int:
    """Converts an ISO 8601 time to Unix milliseconds.

    Raises:
        ValueError: `iso` is no such time, and there is no default.
    """
    try:
        return int(1000 * datetime.fromisoformat(iso).timestamp())
    except (TypeError, ValueError, OverflowError):
        if default is None:
            raise ValueError(f"not an ISO 8601 time: {iso!r}") from None
        return default
