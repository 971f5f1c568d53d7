from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.rows import Row


def test_every_benchmark_is_run() -> None:
    texts = {path.stem: path.read_text() for path in results.RESULTS.parent.glob("*.py")}
    printing = {name for name, text in texts.items() if "print_rows(" in text or "data_sets.run(" in text}
    assert printing - {"rows", "data_sets"} == set(results.BENCHMARKS)


@pytest.mark.parametrize(
    "row",
    [
        Row("ours, images/s", 7012.3),
        Row("ours over bare loop", 0.9, 0.95),
        Row("a name that is a good deal longer than its column", 1.0, 2.0, at_most=True),
    ],
)
def test_a_printed_row_is_read_back(row: Row) -> None:
    (line,), notes = results.read_output(f"a note\n{row}\n")
    assert line == (row.name, f"{row.value:.4g}", str(row).split()[-2], "ok" if row.ok else "short")
    assert notes == ["a note"]


def _run(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> tuple[int, str]:
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "made.py").write_text(f'"""A made-up benchmark."""\n{code}\n')
    monkeypatch.chdir(folder)  # before the real package in the path of the process that is started
    monkeypatch.setattr(results, "RESULTS", folder / "benchmarks" / "RESULTS.md")
    monkeypatch.setattr(results, "BENCHMARKS", {"made": "", "other": ""})
    results.RESULTS.write_text(results.document({"other": "## other\n\nof another day\n"}))
    return results.main(["made"]), results.RESULTS.read_text()


def test_rows_bars_and_notes_are_written_and_other_sections_kept(monkeypatch, tmp_path: Path) -> None:
    code = 'print("mnist is left out")\nprint("speed, images/s   12   >=10 ok")\nprint("cost, s   3   - ok")'
    status, text = _run(monkeypatch, tmp_path, code)
    assert status == 0
    assert "A made-up benchmark." in text and "`python -m benchmarks.made`: **every bar reached**" in text
    assert "| speed, images/s | 12 | >=10 | ok |" in text and "| cost, s | 3 | - |  |" in text
    assert "mnist is left out" in text
    assert text.index("## made") < text.index("## other\n\nof another day") < text.index("Not yet run on a GPU")
    assert text.count("## GPU") == 1


def test_a_missed_bar_is_written_down(monkeypatch, tmp_path: Path) -> None:
    status, text = _run(monkeypatch, tmp_path, 'print("speed   9   >=10 short")\nraise SystemExit(1)')
    assert status == 1 and "**1 of 1 bars missed**" in text and "| speed | 9 | >=10 | short |" in text


def test_a_benchmark_that_fails_is_written_down_with_its_reason(monkeypatch, tmp_path: Path) -> None:
    status, text = _run(monkeypatch, tmp_path, 'raise ValueError("no such thing")')
    assert status == 1 and "**FAILED with status 1**" in text and "ValueError: no such thing" in text
