"""The line that a study shows while it runs: the time left comes from the trials' epochs."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from study.search.tally import Tally
from study.session.progress import StudyProgress
from tests.helpers_study import make_study


def begin(study: Path, number: int, epochs: int) -> None:
    """A trial of 12 epochs that has trained some since a moment ago, half a second each."""
    folder = study / "trials" / f"{number:04d}"
    (folder / "outcome.json").unlink(missing_ok=True)
    now = time.time()
    rows = [{"epoch": epoch, "time": now - 0.5 * (epochs - epoch), "seconds": 0.5} for epoch in range(1, epochs + 1)]
    (folder / "attempt-1" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_study(tmp_path, trials=2, mixed=False)


def test_the_time_left_is_there_before_any_trial_has_ended(study: Path) -> None:
    (study / "trials" / "0000" / "outcome.json").unlink()
    (study / "trials" / "0001" / "outcome.json").unlink()
    printed = io.StringIO()
    progress = StudyProgress(Tally({}, running=2), 4, study, Console(file=printed), interval=0.0)
    assert "left" not in progress.text()  # the epochs are of an earlier session
    progress._begun -= 100.0
    for number in (0, 1):
        begin(study, number, 2)
    # Four epochs within a second, 20 + 24 to go.
    words = progress.text().split(" · ")
    assert words[0] == "2 running"
    minutes, seconds = words[-1].removeprefix("about ").removesuffix(" left").split(":")
    assert 60 * int(minutes) + int(seconds) == pytest.approx(44 / 4, abs=5)


def test_a_file_gets_a_line_when_a_trial_has_ended(study: Path) -> None:
    printed = io.StringIO()
    tally = Tally({"val/sample_fid": "minimize"})
    with StudyProgress(tally, 4, study, Console(file=printed), interval=0.0) as progress:
        progress.refresh()
        progress.refresh()
        tally.add("completed", {"val/sample_fid": 3.5})
        progress.refresh()
        progress.say("once")
        progress.say("once")
    lines = printed.getvalue().splitlines()
    assert [line.partition(" · ")[0] for line in lines] == ["0/4 trials", "1/4 trials", "once"]
    assert "best sample_fid 3.5" in lines[1]


def test_a_folder_that_cannot_be_read_costs_the_estimate_alone(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = StudyProgress(Tally({}), 4, study, Console(file=io.StringIO()))

    def refuse() -> bool:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(progress._followed, "read", refuse)
    assert progress.text() == "0 running · 0 stopped · 0 failed"
