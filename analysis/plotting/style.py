"""How every figure looks: one colour and marker per method, common sizes, readable log axes."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.plotting import naming
from study.built_in import BUILT_IN
from study.config import UserError
from study.results.axes import use_log as use_log
from study.results.axes import worth_showing as worth_showing
from study.results.frame import StudyFrames

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
_REAL_DATA = "real-data baseline"
_STYLES: dict[str, tuple[str, str]] = {
    method: style for item in BUILT_IN.of_kind("regularizer").values() for method, style in item.styles.items()
}
"""Method -> (colour, marker), in the colour-blind-safe palette of Okabe and Ito. A method and its variant with a
Gaussian encoder have similar colours; the marker tells them apart."""
_OWN_STYLES: ContextVar[Mapping[str, tuple[str, str]]] = ContextVar("_OWN_STYLES", default=MappingProxyType({}))
"""Those of the study that is drawn, see `of_study`."""
_KIND_STYLES = tuple(
    zip(
        ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#882255"),
        ("s", "^", "P", "D", "o", "v", "X", "*"),
        strict=True,
    )
)
_SPARE_COLOURS = ("#882255", "#44AA99", "#999933", "#AA4499", "#661100", "#6699CC")
_SPARE_MARKERS = ("d", "*", "8", "H", "p")


@contextlib.contextmanager
def of_study(frames: StudyFrames) -> Iterator[None]:
    """In this block, methods of a study's own have the looks that they declare, as matplotlib's `rc_context` does it.

    Colours and markers that matplotlib does not know are passed over. If all trials are of one method, the kinds of
    models that `naming.groups` tells apart have looks too.
    """
    components = [item for record in frames.records for item in record.described.of_kind("regularizer").values()]
    styles = {method: look for item in components for method, look in item.styles.items()}
    known = {method: look for method, look in styles.items() if is_color_like(look[0]) and look[1] in Line2D.markers}
    kinds = sorted(set(naming.groups(frames)) - set(frames.text("method")))
    known |= dict(zip(kinds, _KIND_STYLES, strict=False))
    token = _OWN_STYLES.set(known)
    try:
        yield
    finally:
        _OWN_STYLES.reset(token)


def method_style(method: str) -> tuple[str, str]:
    """(colour, marker) of a method. One without gets those that its name leads to, the same everywhere."""
    if (look := _STYLES.get(method) or _OWN_STYLES.get().get(method)) is not None:
        return look
    chosen = zlib.crc32(method.encode())
    return _SPARE_COLOURS[chosen % len(_SPARE_COLOURS)], _SPARE_MARKERS[chosen // 8 % len(_SPARE_MARKERS)]


def class_colour(label: int) -> str:
    """The colour of a class: ten of different lightness (Paul Tol's "muted"), repeated; grey for -1, no class."""
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


class StyledFigure(Figure):
    """A figure that keeps the common style wherever it is drawn, and that Jupyter shows without pyplot."""

    def draw(self, renderer: Any) -> None:
        """Draws it; ticks are made only now, and take their style from the settings in force."""
        with matplotlib.rc_context(RC):
            super().draw(renderer)

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """Writes it, as matplotlib does."""
        with matplotlib.rc_context(RC):
            super().savefig(*arguments, **options)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=self.dpi)
        return file.getvalue()


def new_figure(width: float = 7.0, height: float = 4.6) -> Figure:
    """An empty figure in the common style, sizes in inches; pyplot does not know it, so it is freed after use."""
    matplotlib.rcParams.update(RC)
    return StyledFigure(figsize=(width, height), layout="constrained")


def method_handles(methods: Iterable[str]) -> list[Line2D]:
    """Legend entries of the methods, labelled by their names."""
    looks = [(method, *method_style(method)) for method in naming.methods_in_order(methods)]
    return [
        Line2D([], [], color=colour, marker=marker, markersize=6, linewidth=1.1, label=method)
        for method, colour, marker in looks
    ]


def line_handle(text: str, colour: str, dashes: Any) -> Line2D:
    """The legend entry of a plain line."""
    return Line2D([], [], color=colour, linestyle=dashes, linewidth=1.2, label=text)


def draw(info: Any, plot: Callable[[Any], Figure]) -> Figure:
    """Plots a figure's numbers; if `info.missing` says why there is nothing to draw, the figure shows that text."""
    if not info.missing:
        return plot(info)
    figure = new_figure(6.0, 1.2)
    figure.text(0.5, 0.5, info.missing, ha="center", va="center", wrap=True, color=GREY)
    return figure


def log_axis(axes: Axes, which: str, values: np.ndarray, *, narrow: bool = False) -> None:
    """Makes the `x` or `y` axis logarithmic with plain numbers as ticks, more of them if the values span less.

    A `narrow` axis, of about two inches, gets at most five.
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


def draw_real_data(axes: Axes, values: np.ndarray, baseline: float, *, named: bool = True) -> Annotation:
    """Draws the real-data baseline: a dashed line, or an arrow to it if it is far below the values.

    Without `named`, the legend must name it, see `real_data_handles`.

    Returns:
        Its label, at the right.
    """
    text = f"real-data baseline: {naming.number(baseline)}" if named else ""
    if worth_showing(values, baseline):
        axes.axhline(baseline, color=GREY, linewidth=1, linestyle=(0, (4, 2)), zorder=1, gid=_REAL_DATA)
        place, offset, transform = (1.0, baseline), (-2, 3), axes.get_yaxis_transform()
    else:
        text = f"↓ {text or naming.number(baseline)}"
        place, offset, transform = (1.0, 0.0), (-2, 4), axes.transAxes
        axes.set_ymargin(0.12)  # room for the text below the values, if the axis finds its own limits
    return axes.annotate(text, place, offset, xycoords=transform, textcoords="offset points", ha="right", fontsize=7.5,
                         color=GREY, gid=_REAL_DATA, zorder=7,
                         bbox={"facecolor": "white", "alpha": 0.7, "pad": 0.5, "linewidth": 0})  # fmt: skip


def real_data_handles(panels: Iterable[Axes]) -> list[Line2D]:
    """Legend entries of the unnamed baselines that `draw_real_data` drew: line, arrow, both or none."""
    drawn = [artist for axes in panels for artist in (*axes.lines, *axes.texts) if artist.get_gid() == _REAL_DATA]
    handles = []
    if any(isinstance(artist, Line2D) for artist in drawn):
        handles.append(line_handle("real-data baseline", GREY, "--"))
    if any(isinstance(artist, Text) and artist.get_text().startswith("↓") for artist in drawn):
        handles.append(Line2D([], [], linestyle="", marker="$↓$", color=GREY, label="real-data baseline"))
    return handles


def size_ticks(axes: Axes, sizes: np.ndarray) -> None:
    """Puts ticks at the latent sizes themselves, at most eight of them."""
    shown = sizes[:: max(1, -(-len(sizes) // 8))]
    axes.xaxis.set_major_locator(FixedLocator(shown.tolist()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())


def with_suffix(path: Path, chosen: str) -> Path:
    """Appends the format as a suffix, unless the path has it already."""
    return path if path.suffix.lstrip(".").lower() == chosen else path.with_name(f"{path.name}.{chosen}")


def save(figure: Figure, path: Path, format: str | None = None) -> Path:
    """Writes the figure, byte for byte the same every time; the path's suffix is the default format.

    Raises:
        UserError: The format is not png, svg or pdf, or the file cannot be written.
    """
    chosen = (format or path.suffix.lstrip(".") or "png").lower()
    if chosen not in FORMATS:
        raise UserError(f"format {chosen!r}: choose from {', '.join(FORMATS)}")
    path = with_suffix(path, chosen)
    # A PNG takes two thirds of the time, and 4 % more bytes, than with zlib's own level.
    quick: Any = {"pil_kwargs": {"compress_level": 3}} if chosen == "png" else {}
    undated = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[chosen]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format=chosen, metadata=undated, **quick)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path
