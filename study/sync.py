"""`python -m study.sync --study NAME`: rebuild or complete a study in MLflow from its directory."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from study.cli import run_command
from study.disk.layout import find_study
from study.tracking import default_tracking_uri, redact, sync_study


def main(
    study: Annotated[str, typer.Option("--study", "--name", help="The study's name.")],
    runs_dir: Annotated[Path, typer.Option(help="Where the studies lie.")] = Path("runs"),
    tracking_uri: Annotated[str | None, typer.Option(help="The MLflow store; MLFLOW_TRACKING_URI by default.")] = None,
) -> None:
    """Write into MLflow what a study's directory holds and MLflow lacks, each epoch exactly once."""
    started = time.monotonic()
    uri = tracking_uri or default_tracking_uri(runs_dir)
    report = sync_study(find_study(runs_dir, study), uri)
    for problem in report.problems:
        print(problem, file=sys.stderr)
    print(
        f"{study}: {report.trials} trials in {redact(uri)}; written now: {report.created} runs, {report.epochs} epochs "
        f"({report.points} values) in {time.monotonic() - started:.1f} s"
    )


if __name__ == "__main__":
    run_command(main)
