"""Shows how the reconstructions of one trial sharpen during training, as a figure or an animated GIF.

python -m analysis.reconstruction_history --study NAME --out reconstruction_history.gif
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from matplotlib.figure import Figure
from PIL import Image

from analysis.plotting import command, naming, style
from analysis.plotting.pictures import Strips, describe_strips, plot_strips, tile
from study.cli import run_command
from study.config import UserError
from study.results.choice import highlights
from study.results.frame import StudyFrames

SCALE = 96
FRAME_MS, LAST_FRAME_MS = 500, 2_000
MOST_ROWS = 10
_NEEDED = {"history", "history_epochs", "originals"}

describe = describe_strips


def info(frames: StudyFrames, trial: str | None = None) -> Strips:
    """The images, and their reconstructions after each recorded epoch.

    Args:
        frames: The study.
        trial: Label of the trial; by default the recommended one, or the next best trial that saved a history.

    Raises:
        UserError: There is no such trial.
    """
    labels = frames.labels()
    rows = highlights(frames) if trial is None else np.flatnonzero(labels == trial).tolist()
    if not rows and trial is not None:
        raise UserError(f"no trial {trial} in study {frames.name}: choose from {labels[0]} to {labels[-1]}")
    for row in rows:
        arrays = frames.arrays(row)
        if arrays is None or not arrays.keys() >= _NEEDED or not len(arrays["history"]):
            continue
        history, epochs = arrays["history"], arrays["history_epochs"].tolist()
        method = str(frames.text("method")[row])
        name = f"trial {labels[row]} ({naming.configuration(frames, row)})"
        return Strips(
            missing="",
            title=f"Reconstructions during the training of {name}",
            labels=["data", *(f"epoch {epoch}" for epoch in epochs)],
            methods=["", *([method] * len(epochs))],
            rows=[arrays["originals"][: history.shape[1]], *history],
            caption=(
                f"Validation images (top) and their reconstructions by {name} after "
                f"{naming.count(min(len(epochs), MOST_ROWS), 'epoch')} from {epochs[0]} to {epochs[-1]}."
            ),
        )
    which = "no completed trial has saved a" if trial is None else f"trial {trial} has not ended or has saved no"
    return Strips(frames.nothing(f"{which} history of reconstructions"))


def plot(info: Strips) -> Figure:
    """Draws the images and at most ten of the epochs, evenly spaced, the last one included."""
    steps = len(info.rows) - 1
    chosen = [0, *np.linspace(1, steps, min(steps, MOST_ROWS)).round().astype(int).tolist()]
    return plot_strips(
        info._replace(
            labels=[info.labels[index] for index in chosen],
            methods=[info.methods[index] for index in chosen],
            rows=[info.rows[index] for index in chosen],
        )
    )


def save_animation(info: Strips, path: Path) -> Path:
    """Writes an endless GIF: the images above, their reconstructions at one epoch after another below.

    Raises:
        UserError: The file cannot be written, or there is nothing to draw.
    """
    if info.missing:
        raise UserError(info.missing)
    count = len(info.rows[0])
    scale = max(1, SCALE // info.rows[0].shape[-1])
    pictures = []
    for row in info.rows[1:]:
        picture = tile(np.concatenate([info.rows[0], row]), count)
        pictures.append(Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1)))
    durations = [FRAME_MS] * (len(pictures) - 1) + [LAST_FRAME_MS]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def history(
    study: command.StudyOption,
    runs_dir: command.RunsOption = Path("runs"),
    tracking_uri: command.TrackingOption = None,
    trial: Annotated[str | None, typer.Option(help="Number of the trial.", show_default="the recommended one")] = None,
    out: Annotated[Path, typer.Option(help="File to write; a .gif is animated.")] = Path("reconstruction_history.png"),
    format: Annotated[
        Literal["gif", "png", "svg", "pdf"] | None,
        typer.Option(help="File format.", show_default="the ending of --out"),
    ] = None,
) -> None:
    """The command, see the module."""
    strips = info(command.load(study, runs_dir, tracking_uri), trial)
    if (format or out.suffix.lstrip(".")).lower() == "gif":
        typer.echo(save_animation(strips, style.with_suffix(out, "gif")))
        return
    if strips.missing:
        typer.echo(strips.missing, err=True)
    typer.echo(style.save(style.draw(strips, plot), out, format))


if __name__ == "__main__":
    run_command(history)
