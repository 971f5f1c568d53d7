"""The one shape of every figure's command: read one or several studies, draw, write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from analysis.plotting import style
from study.cli import run_command
from study.config import UserError
from study.disk.layout import study_path
from study.results.frame import StudyFrames, join_studies, load_study

StudyOption = Annotated[
    list[str], typer.Option("--study", help="Name of a study; give several to see them in one plot.")
]
RunsOption = Annotated[Path, typer.Option(help="Where the studies lie.")]
OutOption = Annotated[Path | None, typer.Option(help="File to write. [default: the figure's name]")]
FormatOption = Annotated[str | None, typer.Option(help="png, svg or pdf. [default: as the file's name says]")]
PairOption = Annotated[int, typer.Option(min=0, help="Which of the pairs that the trials left, counted from 0.")]
TrackingOption = Annotated[
    str | None,
    typer.Option(help="Read MLflow. [default: only where there is no such study in --runs-dir: MLFLOW_TRACKING_URI]"),
]


def load(studies: list[str], runs_dir: Path, tracking_uri: str | None = None) -> StudyFrames:
    """The named studies as one set of frames, from their directories where these are at hand, else from MLflow."""
    return join_studies(_load_one(name, runs_dir, tracking_uri) for name in studies)


def on_disk(studies: list[str], runs_dir: Path, tracking_uri: str | None) -> bool:
    """Whether `load` reads all of them from their directories."""
    return tracking_uri is None and all(study_path(runs_dir / name).is_file() for name in studies)


def _load_one(name: str, runs_dir: Path, tracking_uri: str | None) -> StudyFrames:
    here = on_disk([name], runs_dir, tracking_uri)
    uri = tracking_uri or (None if here else os.environ.get("MLFLOW_TRACKING_URI"))
    if uri is None:
        return load_study(runs_dir, name)
    from study.tracking.reader import load_from_mlflow  # imports MLflow, which takes a second

    return load_from_mlflow(uri, name)


def run_figure(info: Callable[[StudyFrames], Any], plot: Callable[[Any], Figure], default: str) -> None:
    """Runs one figure as a command; `info` has a field `missing` that says why there is nothing to draw."""

    def figure(
        study: StudyOption,
        runs_dir: RunsOption = Path("runs"),
        tracking_uri: TrackingOption = None,
        out: OutOption = None,
        format: FormatOption = None,
    ) -> None:
        _draw(lambda: info(load(study, runs_dir, tracking_uri)), plot, out or Path(default), format)

    run_command(figure)


def run_figure_of_pairs(info: Callable[[StudyFrames, int], Any], plot: Callable[[Any], Figure], default: str) -> None:
    """The same for a figure of one pair, of images or of classes, among several that the trials left."""

    def figure(
        study: StudyOption,
        runs_dir: RunsOption = Path("runs"),
        tracking_uri: TrackingOption = None,
        pair: PairOption = 0,
        out: OutOption = None,
        format: FormatOption = None,
    ) -> None:
        _draw(lambda: info(load(study, runs_dir, tracking_uri), pair), plot, out or Path(default), format)

    run_command(figure)


def _draw(info: Callable[[], Any], plot: Callable[[Any], Figure], out: Path, format: str | None) -> None:
    if format is not None and format not in style.FORMATS:
        raise UserError(f"--format {format}: choose from {', '.join(style.FORMATS)}")
    drawn = info()
    if drawn.missing:
        typer.echo(drawn.missing, err=True)
    typer.echo(style.save(style.draw(drawn, plot), out, format))
