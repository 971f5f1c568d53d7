"""Where a study stands, read from its directory while it runs, when it has ended and after it died."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from study.cli import command_status
from study.config import UserError
from study.status import lines, main, read_status
from tests.helpers_study import make_study

BEGUN = 1.79e9
"""When the trials' first epoch was written, less a tenth of a second."""
NOW = BEGUN + 1000


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with one study named `toy` that its record calls running, two trials of it without an outcome."""
    make_study(tmp_path)
    directory = tmp_path / "toy"
    record = json.loads((directory / "study.json").read_text())
    (directory / "study.json").write_text(json.dumps({**record, "outcome": "running", "num_trials": 100}))
    for folder in sorted((directory / "trials").iterdir())[-2:]:
        (folder / "outcome.json").unlink(missing_ok=True)
    progress = [
        {"number": number, "outcome": "completed", "epochs": 12 * (number + 1), "hypervolume": volume, "stale": stale}
        for number, (volume, stale) in enumerate([(None, 0), (None, 0), (1.0, 0), (1.5, 0), (1.5, 1), (1.5, 2)])
    ]
    (directory / "progress.jsonl").write_text("".join(json.dumps({**line, "time": NOW}) + "\n" for line in progress))
    return tmp_path


def drive(
    runs: Path, pid: int, host: str = socket.gethostname(), deadline: float | None = None, beat: float = NOW
) -> None:
    """Leaves the mark of a driver that began a minute before the first trial and was last alive at `beat`."""
    path = runs / "toy" / "driver.json"
    path.write_text(json.dumps({"host": host, "pid": pid, "begun": BEGUN - 60, "deadline": deadline}))
    os.utime(path, (beat, beat))


def test_a_running_study(runs: Path) -> None:
    drive(runs, os.getpid())
    status = read_status(runs, "toy", now=NOW)
    assert status.state == "running" and str(os.getpid()) in status.driver
    assert status.counts["running"] == 2 and "interrupted" not in status.counts
    ended = sum(status.counts.values()) - 2
    assert [(trial.number, trial.epochs, trial.planned) for trial in status.running] == [(22, 12, 12), (23, 4, 12)]
    # 18 trials to 12 epochs, three stopped at 6 and one failed at 3: of the running ones, one has reached its plan, and
    # the other lacks 6 × 2 + 12 × 18 over 21, less its own 4. The first epoch took .07 s.
    trained = [12] * 18 + [6] * 3 + [3]
    mean, later = sum(trained) / 22, (18 * 12 + 3 * 6) / 21
    rate = (sum(trained) + 12 + 4) / (NOW - (BEGUN + 0.1 - 0.07))
    assert ended == 22
    assert status.seconds_left == pytest.approx((76 * mean + later - 4) / rate)
    assert status.hypervolume == 1.5 and status.stale == 2 and status.epochs == 72
    text = "\n".join(lines(status, "toy"))
    for word in (
        "running",
        f"{ended} of 100",
        "best",
        "reconstruction_mse",
        "sample_fid",
        "hypervolume",
        "time left",
        "trial 22 (12 of 12), 23 (4 of 12)",
    ):
        assert word in text


def test_best_values_are_those_of_completed_trials(runs: Path) -> None:
    status = read_status(runs, "toy")
    for metric, (value, number) in status.best.items():
        values = []
        for folder in (runs / "toy" / "trials").iterdir():
            path = folder / "outcome.json"
            outcome = json.loads(path.read_text()) if path.exists() else {}
            origin = json.loads((folder / "trial.json").read_text())["origin"]
            if outcome.get("outcome") == "completed" and origin != "replicate":
                values.append((outcome["values"][metric], int(folder.name)))
        assert (pytest.approx(value), number) == min(values)


@pytest.mark.parametrize("pid", [2**22 + 1, "gone"])
def test_a_study_whose_driver_died_is_interrupted(runs: Path, pid: int | str) -> None:
    drive(runs, pid)  # type: ignore[arg-type]
    status = read_status(runs, "toy")
    assert status.state == "interrupted" and status.driver == ""
    assert status.counts["interrupted"] == 2 and "running" not in status.counts
    assert status.seconds_left is None
    assert any("--resume" in line for line in lines(status, "toy"))


def test_a_budget_begins_no_trial_and_ends_none_that_runs(runs: Path) -> None:
    def left(deadline: float | None) -> float:
        drive(runs, os.getpid(), deadline=deadline)
        found = read_status(runs, "toy", now=NOW).seconds_left
        assert found is not None
        return found

    whole, running = left(None), left(NOW - 1)
    assert 0 < running < 1000 < whole  # most trials are still to begin
    assert left(NOW + 1000) == pytest.approx(1000)
    assert left(NOW + running / 2) == pytest.approx(running)
    assert left(NOW + 2 * whole) == pytest.approx(whole)


def test_a_driver_of_another_user_lives(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    drive(runs, os.getpid())
    expected = read_status(runs, "toy", now=NOW).seconds_left
    monkeypatch.setattr(os, "kill", refuse)
    status = read_status(runs, "toy", now=NOW)
    assert status.state == "running" and status.seconds_left == expected


def test_a_driver_on_another_machine_lives_for_as_long_as_its_heart_beats(runs: Path) -> None:
    drive(runs, 1, host="elsewhere")
    assert read_status(runs, "toy", now=NOW + 60).state == "running"
    assert read_status(runs, "toy", now=NOW + 600).state == "interrupted"


def test_a_study_cut_by_a_limit_says_how_to_go_on(runs: Path) -> None:
    path = runs / "toy" / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "outcome": "stopped"}))
    text = lines(read_status(runs, "toy"), "toy")
    assert "toy: stopped" in text[0] and any("--resume" in line for line in text)


def test_a_study_without_any_trial(tmp_path: Path) -> None:
    make_study(tmp_path, trials=0)
    status = read_status(tmp_path, "toy")
    assert status.counts == {} and status.front == [] and status.hypervolume is None
    assert lines(status, "toy")


def test_the_command(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    assert command_status(main, ["--name", "toy", "--runs-dir", str(runs)]) == 0
    assert "interrupted" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_an_unknown_study_names_the_known_ones(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="toy"):
        read_status(runs, "nope")
    assert command_status(main, ["--name", "nope", "--runs-dir", str(runs)]) == 2
    assert "toy" in capsys.readouterr().err


def test_changes_are_listed_and_a_pause_is_a_state(runs: Path) -> None:
    path = runs / "toy" / "study.json"
    changes = [
        {"id": f"2026-11-30T11:26:5{i}.000000+00:00:0", "time": f"2026-11-30T11:26:5{i}.000000+00:00", **change}
        for i, change in enumerate([{"what": "max_concurrent", "value": 4}, {"what": "pause"}])
    ]
    path.write_text(json.dumps({**json.loads(path.read_text()), "changes": changes}))
    drive(runs, os.getpid())
    status = read_status(runs, "toy", now=1e9)
    text = lines(status, "toy")
    assert status.state == "paused" and "toy: paused (process" in text[0]
    assert f"paused       study control --study toy --resume --runs-dir {runs} goes on" in text
    assert "change       2026-11-30 11:26:50 UTC: at most 4 trials at once" in text
    assert not any(line.startswith("time left") for line in text)
    drive(runs, 2**22 + 1)
    text = lines(read_status(runs, "toy", now=1e9), "toy")
    assert "toy: interrupted" in text[0] and any(line.startswith("paused ") for line in text)
    changes.append({"id": "2027", "time": "2027-01-01T00:00:00+00:00", "what": "resume"})
    path.write_text(json.dumps({**json.loads(path.read_text()), "changes": changes}))
    drive(runs, os.getpid())
    assert read_status(runs, "toy", now=1e9).state == "running"
