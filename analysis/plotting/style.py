"""How every figure looks: one colour and marker per method throughout, common sizes, log axes people can read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from study.config import METHODS, UserError
from study.measure.metrics import METRICS

Format = Literal["png", "svg", "pdf"]
FORMATS = get_args(Format)

RC: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "svg.hashsalt": "analysis",
    "pdf.fonttype": 42,
}

GREY = "#6b6b6b"
REAL_DATA = "floor"
"""What `draw_real_data` calls its marks."""
COLOURS: dict[str, tuple[str, str]] = {
    "AE": ("#000000", "o"),
    "Gaussian AE": ("#000000", "p"),
    "VAE": ("#0072B2", "s"),
    "InfoVAE": ("#56B4E9", "D"),
    "WAE-MMD": ("#D55E00", "^"),
    "WAE-MMD Gaussian": ("#E69F00", "v"),
    "WAE-GAN": ("#009E73", "P"),
    "WAE-GAN Gaussian": ("#009E73", "X"),
    "RAE-L2": ("#CC79A7", "h"),
    "SWAE": ("#F0E442", "<"),
    "SWAE Gaussian": ("#F0E442", ">"),
}
"""Method -> (colour, marker). Okabe and Ito's colours, safe for colour-blind readers; a method and its Gaussian-encoder
twin share a family of colour, and the marker tells them apart without any colour."""

LABELS: dict[str, str] = {
    "loss": "Loss (nats per image)",
    "reconstruction": "Reconstruction term D (nats per image)",
    "penalty": "Penalty R(z), unweighted (its own unit)",
    "weight": "Weight w · m(t) in force",
    "latent_dim": "Latent size d",
} | {name: metric.label for name, metric in METRICS.items()}
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def method_style(method: str) -> tuple[str, str]:
    """(colour, marker) of a method; grey diamonds for one without an own entry."""
    return COLOURS.get(method, (GREY, "d"))


def class_colour(label: int) -> str:
    """A class's colour; -1, no class, is grey. Ten that differ in lightness too (Paul Tol's "muted"), then again."""
    palette = (
        "#332288",
        "#88CCEE",
        "#44AA99",
        "#117733",
        "#999933",
        "#DDCC77",
        "#CC6677",
        "#882255",
        "#AA4499",
        "#000000",
    )
    return "#9a9a9a" if label < 0 else palette[label % len(palette)]


def methods_in_order(methods: Iterable[str]) -> list[str]:
    """The distinct methods, in the order of `METHODS`, then others by name."""
    order = list(METHODS)
    return sorted({str(method) for method in methods}, key=lambda m: (order.index(m) if m in order else len(order), m))


def label(column: str) -> str:
    """Words, unit and split for a metric or parameter column."""
    split, slash, name = column.rpartition("/")
    words = LABELS.get(name, name.replace("_", " "))
    return f"{words}, {SPLITS.get(split, split)}" if slash else words


def short_label(column: str) -> str:
    """A metric's label without its unit or split: for running text."""
    words = label(column.rpartition("/")[2]).partition(" (")[0]
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def new_figure(width: float = 7.0, height: float = 4.6) -> Figure:
    """An empty figure of that many inches in the common style, outside pyplot: nothing global keeps it alive."""
    matplotlib.rcParams.update(RC)
    return Figure(figsize=(width, height), layout="constrained")


def method_handles(methods: Iterable[str], *, linewidth: float = 1.1) -> list[Line2D]:
    """Legend entries of the methods."""
    handles = []
    for method in methods_in_order(methods):
        colour, marker = method_style(method)
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=6, linewidth=linewidth, label=method))
    return handles


def line_handle(words: str, colour: str, dashes: Any) -> Line2D:
    """A legend entry of a plain line."""
    return Line2D([], [], color=colour, linestyle=dashes, linewidth=1.2, label=words)


def message_figure(text: str) -> Figure:
    """A figure that says in words why there is nothing to see."""
    figure = new_figure(6.0, 1.2)
    figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True, color=GREY)
    return figure


def number(value: float) -> str:
    """A value in three significant digits, as people write it: .0137, 28.1, 349."""
    if not np.isfinite(value):
        return "n/a"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def count(number: int, noun: str = "trial") -> str:
    """A number of things: `1 trial`, `1,000 trials`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def use_log(values: np.ndarray, *, spread: float = 3.0) -> bool:
    """Whether a log axis helps: all finite values positive, and the largest at least `spread` times the smallest."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and (finite > 0).all() and finite.max() >= spread * finite.min())


def log_axis(axes: Axes, which: str, values: np.ndarray, *, narrow: bool = False) -> None:
    """Makes the `x` or `y` axis logarithmic with plain numbers as ticks, more of them the less the values span.

    A narrow axis, of two inches or so, has room for about five.
    """
    (axes.set_xscale if which == "x" else axes.set_yscale)("log", nonpositive="mask")
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    finite = values[np.isfinite(values)]
    by_span = {5: (1, 1.5, 2, 3, 4, 5, 6, 8), 20: (1, 2, 3, 5, 7), 1000: (1, 2, 5), np.inf: (1,)}
    if narrow:
        by_span = {5: (1, 2, 3, 5), 20: (1, 3), np.inf: (1,)}
    subs = next(subs for span, subs in by_span.items() if finite.max() / finite.min() <= span)
    axis.set_major_locator(LogLocator(subs=subs, numticks=5 if narrow else 12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def worth_showing(values: np.ndarray, reference: float) -> bool:
    """Whether an axis should reach out to a reference: not where that would squeeze the values into a corner."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if low > 0 and reference > 0:
        room = max(high / low, 10.0) ** 0.4
        return low / room <= reference <= high * room
    room = 0.6 * max(high - low, abs(high))
    return low - room <= reference <= high + room


def draw_real_data(axes: Axes, values: np.ndarray, floor: float, *, words: bool = True) -> None:
    """A dashed line where real training images lie, or an arrow to them where that is far below the values."""
    text = f"real training images: {number(floor)}" if words else ""
    if worth_showing(values, floor):
        axes.axhline(floor, color=GREY, linewidth=1, linestyle=(0, (4, 2)), zorder=1, gid=REAL_DATA)
        where, offset = (1.0, floor), (-2, 3)
        transform = axes.get_yaxis_transform()
    else:
        text = f"↓ {text}" if words else f"↓ {number(floor)}"
        where, offset, transform = (1.0, 0.0), (-2, 4), axes.transAxes
        axes.set_ymargin(0.12)  # room for the words below the values, where the axis finds its own ends
    axes.annotate(text, where, offset, xycoords=transform, textcoords="offset points", ha="right", fontsize=7.5,
                  color=GREY, gid=REAL_DATA)  # fmt: skip


def floor_handles(panels: Iterable[Axes]) -> list[Line2D]:
    """Legend entries of what `draw_real_data` drew without words: lines, arrows, both or nothing."""
    drawn = [artist for axes in panels for artist in (*axes.lines, *axes.texts) if artist.get_gid() == REAL_DATA]
    handles = []
    if any(isinstance(artist, Line2D) for artist in drawn):
        handles.append(line_handle("real training images", GREY, "--"))
    if any(isinstance(artist, Text) and artist.get_text().startswith("↓") for artist in drawn):
        handles.append(Line2D([], [], linestyle="", marker="$↓$", color=GREY, label="real training images"))
    return handles


def size_ticks(axes: Axes, sizes: np.ndarray) -> None:
    """Ticks at the latent sizes themselves, thinned out to at most eight."""
    shown = sizes[:: max(1, -(-len(sizes) // 8))]
    axes.xaxis.set_major_locator(FixedLocator(shown.tolist()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())


def with_suffix(path: Path, chosen: str) -> Path:
    """The path, ending in the format's name; one that ends otherwise keeps its ending and gets the format's as well."""
    return path if path.suffix.lstrip(".").lower() == chosen else path.with_name(f"{path.name}.{chosen}")


def save(figure: Figure, path: Path, format: str | None = None) -> Path:
    """Writes the figure, byte for byte the same every time; the format is the path's suffix unless given.

    Raises:
        UserError: Another format than png, svg, pdf, or a place that cannot be written to.
    """
    chosen = (format or path.suffix.lstrip(".") or "png").lower()
    if chosen not in FORMATS:
        raise UserError(f"format {chosen!r}: choose from {', '.join(FORMATS)}")
    path = with_suffix(path, chosen)
    undated = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[chosen]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format=chosen, metadata=undated)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path
