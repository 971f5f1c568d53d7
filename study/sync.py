"""Writes into MLflow what a study's folder holds and MLflow lacks, each epoch exactly once.

    python -m study.sync --study wae_weight

A local store that is broken is replaced by a new one, and its file is kept.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from study.cli import DONE, FAILED, RunsOption, TrackingOption, run_command
from study.config import UserError
from study.disk.layout import find_study, study_names
from study.tracking import default_tracking_uri, location, redact, sync_study


def main(
    study: Annotated[str | None, typer.Option("--study", "--name", help="Name of the study.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Write every study in --runs-dir.")] = False,
    runs_dir: RunsOption = Path("runs"),
    tracking_uri: TrackingOption = None,
) -> int:
    """The command, see the module."""
    uri = tracking_uri or default_tracking_uri(runs_dir)
    if study is not None and not every:
        _write(find_study(runs_dir, study), uri)
        return DONE
    names = study_names(runs_dir)
    if study is not None or not every or not names:
        known = f"choose from {', '.join(names)}" if names else f"there is none in {runs_dir}"
        raise UserError(f"name one study with --study, or give --all: {known}")
    failed = False
    for name in names:
        try:
            _write(runs_dir / name, uri)
        except UserError as error:  # the others can be written all the same
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
    return FAILED if failed else DONE


def _write(directory: Path, uri: str) -> None:
    """Writes one study, and says what was written."""
    started = time.monotonic()
    report = sync_study(directory, uri)
    for problem in report.problems:
        print(problem, file=sys.stderr)
    print(
        f"{directory.name}: {report.trials} trials in {redact(uri)}; written now: {report.created} runs, "
        f"{report.epochs} epochs ({report.points} values) in {time.monotonic() - started:.1f} s"
    )
    print(f"MLflow   {location(uri, report.page)}")


if __name__ == "__main__":
    run_command(main)
