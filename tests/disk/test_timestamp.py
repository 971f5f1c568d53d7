from __future__ import annotations

import time
from typing import Any

import pytest

from study.disk.timestamp import milliseconds, now


def test_now_is_read_back() -> None:
    assert abs(milliseconds(now()) - 1000 * time.time()) < 60_000


@pytest.mark.parametrize(
    ("iso", "expected"),
    [
        ("1970-01-01T00:00:01.500+00:00", 1500),
        ("1970-01-01T01:00:00+01:00", 0),
        ("2026-11-20T18:00:00Z", 1795197600000),
    ],
)
def test_milliseconds(iso: str, expected: int) -> None:
    assert milliseconds(iso) == expected


@pytest.mark.parametrize("iso", [None, "", "yesterday", 5])
def test_what_is_no_time(iso: Any) -> None:
    assert milliseconds(iso, default=7) == 7
    with pytest.raises(ValueError, match="not an ISO 8601 time"):
        milliseconds(iso)
