"""The one shape of every figure's command: read one or several studies, draw, write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from analysis import style
from analysis.frame import StudyFrames, join_studies, load_study
from study.cli import run_command
from study.config import UserError

StudyOption = Annotated[
    list[str], typer.Option("--study", help="Name of a study; give several to see them in one plot.")
]
RunsOption = Annotated[Path, typer.Option(help="Where the studies lie.")]


def load(studies: list[str], runs_dir: Path) -> StudyFrames:
    """The named studies as one set of frames."""
    return join_studies(load_study(runs_dir, name) for name in studies)


def run_figure(info: Callable[[StudyFrames], Any], plot: Callable[[Any], Figure], default: str) -> None:
    """Runs one figure as a command; `info` has a field `missing` that says why there is nothing to draw."""

    def figure(
        study: StudyOption,
        runs_dir: RunsOption = Path("runs"),
        out: Annotated[Path | None, typer.Option(help="File to write. [default: the figure's name]")] = None,
        format: Annotated[str | None, typer.Option(help="png, svg or pdf. [default: as the file's name says]")] = None,
    ) -> None:
        if format is not None and format not in style.FORMATS:
            raise UserError(f"--format {format}: choose from {', '.join(style.FORMATS)}")
        drawn = info(load(study, runs_dir))
        if drawn.missing:
            typer.echo(drawn.missing, err=True)
        typer.echo(style.save(plot(drawn), out or Path(default), format))

    run_command(figure)
