"""Writes the results as one page: a `report.html` that opens offline, with its figures beside it as PNGs.

python -m analysis.report --study NAME --out DIR
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from analysis.plotting.command import RunsOption, StudyOption, TrackingOption, load, on_disk
from analysis.reporting.page import write_report
from study.cli import run_command
from study.disk.layout import report_path
from study.disk.lock import living_driver
from study.tracking.store import default_tracking_uri


def report(
    study: StudyOption,
    runs_dir: RunsOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write.", show_default="report/ in the study's folder; report/ here for several studies"
        ),
    ] = None,
) -> None:
    """The command, see the module."""
    frames = load(study, runs_dir, tracking_uri)
    own = runs_dir / study[0]
    folder = out or (report_path(own).parent if len(study) == 1 and own.is_dir() else Path("report"))
    uri = tracking_uri or default_tracking_uri(runs_dir)
    folders = [runs_dir / name for name in study] if on_disk(study, runs_dir, tracking_uri) else []
    if any(living_driver(path, time.time()) for path in folders):  # the second process would read newer records
        folders = []
    typer.echo(write_report(frames, folder, uri, folders, runs_dir)[0])


if __name__ == "__main__":
    run_command(report)
