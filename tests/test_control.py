"""The command that steers a study, and the function that does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import study
from study.cli import command_status
from study.control import control
from study.search.ledger import Ledger
from tests.session.test_steering import ledger as ledger
from tests.session.test_steering import write_record


def steer(runs: Path, *words: object) -> int:
    return command_status(control, ["--study", "toy", "--runs-dir", str(runs), *map(str, words)])


def test_the_command_records_and_shows(tmp_path: Path, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--max-concurrent",
        4,
        "--stop-trial",
        1,
        "--stop-trial",
        2,
        "--range",
        "weight=1..2",
        "--range",
        "kernel=rbf",
    ]
    assert steer(tmp_path, *words) == 0
    output = capsys.readouterr().out
    assert output.count("recorded ") == output.count("UTC: ") == 5
    assert "counts as soon as the study is resumed" in output
    assert steer(tmp_path) == 0
    shown = capsys.readouterr().out
    assert "recorded" not in shown and shown.count("UTC: ") == 5 and "in force     weight from 1 to 2" in shown
    assert steer(tmp_path, *words) == 0
    assert "in force already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-concurrent", "many"], "--max-concurrent many: it must be auto, default or a whole number from 1"),
        (["--max-concurrent", 0], "from 1"),
        (["--range", "weight"], "give PARAMETER=LOW..HIGH"),
        (["--range", "weight=1..2", "--range", "weight=default"], "named twice"),
        (["--pause", "--resume"], "give one of the two"),
        (["--stop-trial", "x"], "--stop-trial"),
        (["--stop-trial", 0], "has ended"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, ledger: Ledger, capsys: pytest.CaptureFixture[str], words: list[object], message: str
) -> None:
    assert steer(tmp_path, *words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_study_that_is_as_it_began(tmp_path: Path, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert steer(tmp_path) == 0
    assert "nothing: the study is as it began" in capsys.readouterr().out


def test_from_python(tmp_path: Path, ledger: Ledger) -> None:
    found = study.control_study(
        tmp_path / "toy",
        max_concurrent=np.int64(2),  # type: ignore[arg-type]
        stop_trials=np.array([1]),  # type: ignore[arg-type]
        ranges={"weight": (0.5, 2), "latent_dim": [4, 16]},
    )
    assert found.in_force.ranges == {"weight": {"low": 0.5, "high": 2.0}, "latent_dim": {"choices": [4, 16]}}
    assert len(found.recorded) == 4 and found.in_force.stopped == {1}
    assert study.control_study(str(tmp_path / "toy"), ranges={"weight": None}).in_force.ranges.keys() == {"latent_dim"}
    for wrong in (3, ("0.5", "2"), ("imq", "rbf")):
        with pytest.raises(study.UserError, match="give a tuple"):
            study.control_study(tmp_path / "toy", ranges={"weight": wrong})  # type: ignore[dict-item]
    write_record(tmp_path, grid=True)
    with pytest.raises(study.UserError, match="grid"):
        study.control_study(tmp_path / "toy", ranges={"weight": (1, 2)})
