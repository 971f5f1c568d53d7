"""The one shape of every figure's command: read one or several studies, draw, write."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from analysis.plotting import style
from study.cli import RunsOption, run_command
from study.disk.layout import study_path
from study.results.frame import StudyFrames, join_studies, load_study

StudyOption = Annotated[
    list[str], typer.Option("--study", "--name", help="Name of a study; repeat it to show several in one plot.")
]
OutOption = Annotated[Path | None, typer.Option(help="File to write.", show_default="named after the figure")]
FormatOption = Annotated[style.Format | None, typer.Option(help="File format.", show_default="the ending of --out")]
TrialsOption = Annotated[
    list[str] | None,
    typer.Option("--trial", help="Show this trial; repeat it for several.", show_default="the best of each kind"),
]
PairOption = Annotated[int, typer.Option(min=0, help="Number of the pair to show.")]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        help="Read the studies from this MLflow store.",
        show_default="read --runs-dir; if a study is not there, MLFLOW_TRACKING_URI",
    ),
]


def load(studies: list[str], runs_dir: Path, tracking_uri: str | None = None) -> StudyFrames:
    """The named studies as one set of frames, read from their folders, or from MLflow if a folder is missing."""
    return join_studies(_load_one(name, runs_dir, tracking_uri) for name in studies)


def on_disk(studies: list[str], runs_dir: Path, tracking_uri: str | None) -> bool:
    """Whether `load` reads all of them from their folders."""
    return tracking_uri is None and all(study_path(runs_dir / name).is_file() for name in studies)


def _load_one(name: str, runs_dir: Path, tracking_uri: str | None) -> StudyFrames:
    here = on_disk([name], runs_dir, tracking_uri)
    uri = tracking_uri or (None if here else os.environ.get("MLFLOW_TRACKING_URI"))
    if uri is None:
        return load_study(runs_dir, name)
    from study.tracking.reader import load_from_mlflow  # imports MLflow, which takes a second

    return load_from_mlflow(uri, name)


def options_of(info: Callable[..., Any]) -> list[str]:
    """What a figure takes beside the study."""
    return list(inspect.signature(info).parameters)[1:]


def figure_command(info: Callable[..., Any], plot: Callable[[Any], Figure], default: str) -> Callable[..., int | None]:
    """The command of a figure; its help is the docstring of the figure's module.

    Args:
        info: What the figure shows; its field `missing` says why there is nothing to draw. If it takes a `pair` or
            `trials`, so does the command.
        plot: Draws it.
        default: The file to write if the user names none.
    """

    takes = set(options_of(info))

    def figure(
        study: StudyOption,
        runs_dir: RunsOption = Path("runs"),
        tracking_uri: TrackingOption = None,
        trials: TrialsOption = None,
        pair: PairOption = 0,
        out: OutOption = None,
        format: FormatOption = None,
    ) -> None:
        given = {name: value for name, value in (("trials", tuple(trials or ())), ("pair", pair)) if name in takes}
        shown = functools.partial(info, **given)
        _draw(load(study, runs_dir, tracking_uri), shown, plot, out or Path(default), format)

    signature = inspect.signature(figure, eval_str=True)
    offered = [
        option for name, option in signature.parameters.items() if name in takes or name not in ("trials", "pair")
    ]
    command: Any = figure
    command.__signature__ = signature.replace(parameters=offered)
    command.__module__ = info.__module__
    return command


def run_figure(info: Callable[..., Any], plot: Callable[[Any], Figure], default: str) -> None:
    """Runs a figure as a program, see `figure_command`; the trials left several pairs to some."""
    run_command(figure_command(info, plot, default))


def _draw(
    frames: StudyFrames,
    info: Callable[..., Any],
    plot: Callable[[Any], Figure],
    out: Path,
    format: str | None,
) -> None:
    with style.of_study(frames):
        drawn = info(frames)
        if drawn.missing:
            typer.echo(drawn.missing, err=True)
        typer.echo(style.save(style.draw(drawn, plot), out, format))
