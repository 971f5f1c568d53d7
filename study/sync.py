"""Writes into MLflow what a study's folder holds and MLflow lacks, each epoch exactly once.

python -m study.sync --study wae_weight
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from study.cli import RunsOption, StudyOption, TrackingOption, run_command
from study.disk.layout import find_study
from study.tracking import default_tracking_uri, location, redact, sync_study


def main(study: StudyOption, runs_dir: RunsOption = Path("runs"), tracking_uri: TrackingOption = None) -> None:
    """The command, see the module."""
    started = time.monotonic()
    uri = tracking_uri or default_tracking_uri(runs_dir)
    report = sync_study(find_study(runs_dir, study), uri)
    for problem in report.problems:
        print(problem, file=sys.stderr)
    print(
        f"{study}: {report.trials} trials in {redact(uri)}; written now: {report.created} runs, {report.epochs} epochs "
        f"({report.points} values) in {time.monotonic() - started:.1f} s"
    )
    print(f"MLflow   {location(uri, report.page)}")


if __name__ == "__main__":
    run_command(main)
