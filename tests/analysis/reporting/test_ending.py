"""The report and the messages at the end of a study."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
from pathlib import Path
from typing import Any, Never

import pytest
from rich.console import Console

from analysis.reporting import ending
from analysis.reporting.figures import FIGURES
from study.config import TrialConfig
from study.results.frame import load_study
from tests.helpers_study import make_study, write_trial


def said_by_report(directory: Path) -> str:
    """What `ending.report` prints."""
    console = Console(width=80, file=io.StringIO(), record=True)
    ending.report(console, load_study(directory.parent, directory.name), directory, None)
    return console.export_text()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_study(tmp_path, trials=3)


def test_page_and_figures_are_in_the_study(study: Path) -> None:
    assert said_by_report(study) == "writing the report\n"
    names = {path.stem for path in (study / "report").glob("*.png")}
    assert "tradeoff" in names and names <= set(FIGURES)
    console = Console(width=80, file=io.StringIO(), record=True)
    ending.show(console, load_study(study.parent, study.name), study)
    assert f"report   {study}/report/report.html" in console.export_text()


def test_a_report_is_written_again_only_after_another_trial_has_ended(study: Path) -> None:
    said_by_report(study)
    assert said_by_report(study) == ""
    page, outcome = study / "report" / "report.html", study / "trials" / "0001" / "outcome.json"
    os.utime(outcome, (page.stat().st_mtime + 1, page.stat().st_mtime + 1))
    assert "writing" in said_by_report(study)


@pytest.mark.parametrize(
    ("error", "why"),
    [(ValueError("no\nsuch [axis]"), "no such [axis]"), (KeyboardInterrupt(), "(interrupted)"), (OSError(), "OSError")],
)
def test_an_error_becomes_one_line(
    study: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, why: str
) -> None:
    def write_report(*_: Any) -> Never:
        raise error

    monkeypatch.setattr(ending, "write_report", write_report)
    _, line = said_by_report(study).splitlines()
    assert line.startswith("report   not written (") and why in line
    assert line.endswith(f"python -m analysis.report --study toy --runs-dir {study.parent}")


def test_a_file_where_the_folder_should_be_is_left_alone(study: Path) -> None:
    (study / "report").write_text("a file where the folder should be")
    assert "not written" in said_by_report(study)
    assert (study / "report").read_text() == "a file where the folder should be"


@pytest.mark.parametrize(
    ("largest", "said"),
    [
        (0.0311, "3.1 % of its GPU's memory: --gpus-per-trial 0.04 is"),
        (0.98, "--gpus-per-trial 1 is"),
        (math.nan, ""),
    ],
)
def test_gpu_memory_is_reported_if_trials_measured_it(tmp_path: Path, largest: float, said: str) -> None:
    study = make_study(tmp_path, trials=3, mixed=False)
    for number, share in ((0, largest / 2), (2, largest)):
        path = study / "trials" / f"{number:04d}" / "attempt-1" / "metrics.jsonl"
        *lines, last = path.read_text().splitlines()
        if math.isfinite(share):  # on a CPU nothing is measured
            last = json.dumps({**json.loads(last), "gpu_memory_share": share})
        path.write_text("\n".join([*lines, last]) + "\n")
    console = Console(width=200, file=io.StringIO(), record=True)
    ending.show_gpu_memory(console, load_study(tmp_path, "toy"))
    assert said in console.export_text() if said else console.export_text() == ""


def test_a_recommended_trial_that_a_plain_autoencoder_dominates_is_marked(tmp_path: Path) -> None:
    """An AE is not made for N(0, I), so it is not recommended even if it is the whole front."""
    directory = make_study(tmp_path, trials=0)
    trials = [(TrialConfig(), 0.01, 5.0), (TrialConfig(encoder="gaussian", regularizer="kl", weight=0.05), 0.02, 7.0)]
    for number, (config, error, score) in enumerate(trials):
        measured = {"val/reconstruction_mse": error, "val/sample_fid": score, "val/fitted_fid": 1.0}
        write_trial(directory, number, config, [{"epoch": 1, "train/weight": config.weight, **measured}])
    console = Console(width=100, file=io.StringIO(), record=True)
    ending.show(console, load_study(tmp_path, "toy"), directory)
    lines = [line.split() for line in console.export_text().splitlines()]
    assert "; ○ dominated)" in " ".join(itertools.chain(*lines))
    plain, recommended = (next(line for line in lines if method in line) for method in ("AE", "VAE"))
    assert plain[:2] == ["0", "AE"] and recommended[:3] == ["▸○", "1", "VAE"]


def test_a_warning_that_several_trials_have_is_shown_once(study: Path) -> None:
    def said() -> str:
        console = Console(width=80, file=io.StringIO(), record=True)
        ending.show_warnings(console, study)
        return console.export_text()

    assert said() == ""
    for number in range(3):
        (study / "trials" / f"{number:04d}" / "attempt-1" / "warnings.txt").write_text("no instructions for it\n")
    assert said() == "warning  no instructions for it\n"
    (study / "trials" / "0001" / "attempt-1" / "warnings.txt").write_text("no instructions for it\nanother\n")
    assert said() == "warning  no instructions for it (and 1 more in trials/*/attempt-*/warnings.txt)\n"
