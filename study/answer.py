"""What a study says at its end: the Pareto-optimal trials, the recommended one, the picture, and where it all lies."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis import style, tradeoff
from analysis.choice import Choice, choose
from analysis.frame import StudyFrames

_COLUMNS = ("method", "latent_dim", "weight", "kernel", "annealing")
_ROWS = 12


def draw(frames: StudyFrames, directory: Path) -> list[Path]:
    """Draws the trade-off into the study's folder.

    Returns:
        The files written.
    """
    return [style.save(tradeoff.plot(tradeoff.tradeoff_info(frames)), directory / "tradeoff.png", "png")]


def show(console: Console, frames: StudyFrames, directory: Path) -> None:
    """Prints the front with its knee, and what to open next."""
    choice = choose(frames)
    counts = frames.trials["outcome"].value_counts()
    console.print(
        f"{len(frames.trials)} trials: " + ", ".join(f"{number} {outcome}" for outcome, number in counts.items()),
        highlight=False,
    )
    if choice.knee is not None:
        console.print(_front_table(frames, choice))
    console.print(
        f"study    {directory}", f"picture  {directory / 'tradeoff.png'}", sep="\n", soft_wrap=True, highlight=False
    )


def _front_table(frames: StudyFrames, choice: Choice) -> Table:
    table = Table(
        title="Pareto-optimal trials (▸ the knee: recommended)", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("")
    names = list(frames.objectives)
    for name in ("trial", *_COLUMNS, *(name.rpartition("/")[2] for name in names)):
        table.add_column(name, justify="right")
    rows = [int(row) for row in choice.front]
    for row in rows:
        trial = frames.trials.iloc[row]
        cells = [str(trial["number"]), *(_cell(trial[name]) for name in (*_COLUMNS, *names))]
        table.add_row("▸" if row == choice.knee else "", *cells, style="bold" if row == choice.knee else None)
    return table


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
