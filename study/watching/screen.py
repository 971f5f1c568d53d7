"""What a watched study shows: its lines, the trade-off as a text plot, and a table of the trials that run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleRenderable, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.measure.metrics import metric_name
from study.watching import plot
from study.watching.running import Running

_WIDE = 100
"""Columns from which on there is room for whole names and long bars."""
_LEAST_PLOT, _MOST_PLOT = 10, 30
"""Lines of the plot; it is left out where there is no room for the least."""
_FEWEST_ROWS, _SHARE = 3, 5
"""Rows of the table that the plot leaves room for: at least so many, and a fifth of the screen."""
_NONE = "-"


class Moment(NamedTuple):
    """A study at one moment.

    Attributes:
        lines: What `study status` prints.
        objectives: Names of the objectives.
        points: What the plot shows; None if there is nothing to plot.
        running: Those that are being trained.
        over: Whether nobody runs it.
    """

    lines: list[str]
    objectives: list[str]
    points: plot.Points | None
    running: list[Running]
    over: bool


def screen(moment: Moment, console: Console) -> ConsoleRenderable:
    """Fits a moment into the console as large as it is now."""
    width, height = console.size
    lines = Text("\n".join(moment.lines), overflow="fold")
    left = height - 1 - len(console.render_lines(lines, console.options.update(width=width), pad=False))
    parts: list[ConsoleRenderable] = [lines]
    kept = min(len(moment.running), max(_FEWEST_ROWS, height // _SHARE)) + 3
    found = moment.points
    if found is None:
        parts.append(Text("no trial has both objectives yet" if len(moment.objectives) > 1 else "", "dim"))
        left -= 1
    elif left - kept > _LEAST_PLOT:
        drawn = plot.draw(found, width, min(_MOST_PLOT, left - kept - 1))
        parts += [_plot_text(drawn), Text(plot.legend(found), "dim", no_wrap=True, overflow="ellipsis")]
        left -= len(drawn) + 1
    if moment.running and left > kept - 1:
        parts.append(_table(moment.running, moment.objectives, left - 2, width))
    return Group(*parts)


def _plot_text(lines: Sequence[str]) -> Text:
    text = Text("\n".join(lines), no_wrap=True, overflow="crop")
    text.highlight_words([plot.FRONT], "bold green")
    return text


def _table(running: Sequence[Running], objectives: Sequence[str], rows: int, width: int) -> Table:
    """The running trials, those with the most epochs missing last; a line says how many it has no room for."""
    wide = width >= _WIDE
    shown = sorted(running, key=lambda trial: (trial.epochs - trial.planned, trial.number), reverse=True)[
        : max(1, rows)
    ]
    more = len(running) - len(shown)
    table = Table(box=None, padding=(0, 1, 0, 0), width=width, pad_edge=False, header_style="bold",
                  caption=f"and {more} more that run" if more else None, caption_justify="left")  # fmt: skip
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("what", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("epochs", width=20 if wide else 6)
    table.add_column("", no_wrap=True, justify="right")
    for name in _headers(objectives, wide):
        table.add_column(name, justify="right", no_wrap=True, min_width=min(6, cell_len(name)))
    table.add_column("last epoch" if wide else "last", justify="right", no_wrap=True)
    for trial in shown:
        values = [f"{trial.values[name]:.3g}" if name in trial.values else _NONE for name in objectives]
        bar = ProgressBar(total=trial.planned, completed=trial.epochs)
        ago = _NONE if trial.silent is None else _duration(trial.silent) + (" ago" if wide else "")
        table.add_row(str(trial.number), trial.what, bar, f"{trial.epochs}/{trial.planned}", *values, ago)
    return table


def _headers(objectives: Sequence[str], wide: bool) -> list[str]:
    """Names of the objectives' columns; on a narrow screen their last words, if these tell them apart."""
    names = [metric_name(name) for name in objectives]
    last = [name.rpartition("_")[2] for name in names]
    return names if wide or len(set(last)) < len(last) else last


def _duration(seconds: float) -> str:
    """`7s`, `12m`, `3h`."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds / size)}{unit}"
    return f"{int(seconds)}s"
