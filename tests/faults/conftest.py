"""Everything here is marked `fault`; the table of what the faults did is printed at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.harness import ROWS

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.fault)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not ROWS:
        return
    columns = ("fault", "injected how", "times", "lost", "duplicated", "left running")
    rows = [
        (row.fault, row.injected, *map(str, (row.times, row.lost, row.duplicated, row.left_running))) for row in ROWS
    ]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    terminalreporter.section("faults")
    for cells in (columns, tuple("-" * width for width in widths), *rows):
        line = " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        terminalreporter.write_line(f"| {line} |")
