"""On a machine that has all these tests need, as the project's CI, a skipped test is a failed one."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

REQUIRE = "REQUIRE_CLUSTER"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With REQUIRE_CLUSTER=1 turns a skip into a failure that gives the skip's reason."""
    report = yield
    if report.skipped and os.environ.get(REQUIRE) == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE}=1, and this test was skipped: {reason}"
    return report
