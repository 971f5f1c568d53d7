"""The one shape of every command in this room: read a study, draw, write, and say in one line what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from analysis import style
from analysis.frame import StudyFrames, join_studies, load_study
from study.config import UserError

StudyOption = Annotated[
    list[str], typer.Option("--study", help="Name of a study; give several to see them in one plot.")
]
RunsOption = Annotated[Path, typer.Option(help="Where the studies lie.")]


def load(studies: list[str], runs_dir: Path) -> StudyFrames:
    """The named studies as one set of frames."""
    return join_studies(load_study(runs_dir, name) for name in studies)


def run(command: Callable[..., None]) -> None:
    """Runs a function as a command; a `UserError` becomes one line and exit status 2."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        app()
    except UserError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(2) from None


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

    run(figure)
