"""What the figures of images share: one trial for each method and latent size, tiling, rows of images by trial."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting import style
from study.results import pareto
from study.results.choice import choose, front_of
from study.results.frame import Arrays, StudyFrames

MOST_ROWS = 16
NO_PICTURES = "no completed trial has left pictures"


def no_pair(pair: int) -> str:
    """Why there is nothing to see of a pair that no trial has left."""
    return f"no completed trial has left a pair {pair}, they count from 0"


class Representative(NamedTuple):
    """A trial that stands for its method at its latent size: the knee of their own front.

    Attributes:
        row: Its row in the trials.
        trial: Its label.
        method: Its method.
        latent_dim: Its latent size.
        arrays: What it left.
    """

    row: int
    trial: str
    method: str
    latent_dim: int
    arrays: Arrays

    @property
    def label(self) -> str:
        """Method, size and trial, in two lines."""
        return f"{self.method}\nd={self.latent_dim} (trial {self.trial})"


class Strips(NamedTuple):
    """Rows of images.

    Attributes:
        missing: Why there is nothing to draw, or "".
        title: Heading.
        labels: Left of each row.
        methods: Of each row, "" for a row of data.
        rows: Images uint8 [n, C, H, W] of each row.
        caption: The figure in words.
    """

    missing: str
    title: str
    labels: list[str]
    methods: list[str]
    rows: list[np.ndarray]
    caption: str


def representatives(frames: StudyFrames, needed: str, at_most: int = MOST_ROWS) -> list[Representative]:
    """One trial per method and latent size, in that order, of those that hold the needed array.

    Where these are more than `at_most`, whole latent sizes are left out, never the recommended trial's.
    """
    choice = choose(frames)
    method, latent_dim, labels = frames.text("method"), frames.column("latent_dim"), frames.labels()
    rows = []
    for name in style.methods_in_order(method[choice.eligible]):
        for size in np.unique(latent_dim[choice.eligible & (method == name)]):
            front = front_of(choice.values, choice.eligible & (method == name) & (latent_dim == size))
            rows.append(int(front[pareto.knee(choice.values[front])]))
    sizes = [int(latent_dim[row]) for row in rows]
    kept: set[int] = set()
    for size in _by_importance(sorted(set(sizes)), None if choice.knee is None else int(latent_dim[choice.knee])):
        if not kept or sum(other in kept | {size} for other in sizes) <= at_most:
            kept.add(size)
    found = []
    for row, size in zip(rows, sizes, strict=True):
        arrays = frames.arrays(row) if size in kept and len(found) < at_most else None
        if arrays is not None and needed in arrays and len(arrays[needed]):
            found.append(Representative(row, str(labels[row]), str(method[row]), size, arrays))
    return found


def _by_importance(sizes: list[int], best: int | None) -> list[int]:
    """The best size, the smallest, the largest, and then always whichever is most places away from all before it."""
    order = list(dict.fromkeys(size for size in (best, *sizes[:1], *sizes[-1:]) if size is not None))
    while left := [size for size in sizes if size not in order]:
        taken = [sizes.index(size) for size in order]
        order.append(max(left, key=lambda size: min(abs(sizes.index(size) - place) for place in taken)))
    return order


def tile(images: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Images uint8 [N, C, H, W] as one RGB picture [rows, columns, 3], white between them."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        pixels = image[:3] if channels >= 3 else image[:1].repeat(3, axis=0)
        canvas[top : top + height, left : left + width] = pixels.transpose(1, 2, 0)
    return canvas


def show(axes: Axes, picture: np.ndarray) -> None:
    """Draws a picture pixel for pixel, without axes."""
    axes.imshow(picture, interpolation="nearest", aspect="equal")
    axes.set_anchor("W")  # beside the words that belong to it
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def text_colour(method: str) -> str:
    """The method's colour where words in it can be read on white, else black."""
    colour = style.method_style(method)[0] if method else "black"
    return "black" if colour in ("#F0E442", "#56B4E9") else colour


def label_row(axes: Axes, text: str, method: str) -> None:
    """Words left of a row."""
    look: dict[str, Any] = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 7.5}
    axes.set_ylabel(text, color=text_colour(method), **look)


def plot_strips(info: Strips) -> Figure:
    """One row of images under the other."""
    if info.missing:
        return style.message_figure(info.missing)
    most = max(len(row) for row in info.rows)
    pictures = [tile(row, most) for row in info.rows]
    words = max(len(line) for label in info.labels for line in label.splitlines())
    shape = max(picture.shape[1] / picture.shape[0] for picture in pictures)
    width = max(0.2 + 0.06 * words + 0.49 * shape, 0.08 * len(info.title))
    figure = style.new_figure(width, 0.4 + 0.56 * len(info.rows))
    panels = figure.subplots(len(info.rows), 1, squeeze=False)[:, 0]
    for axes, picture, label, method in zip(panels, pictures, info.labels, info.methods, strict=True):
        show(axes, picture)
        label_row(axes, label, method)
    figure.suptitle(info.title, fontsize=9, fontweight="bold")
    return figure


def describe_strips(info: Strips) -> str:
    """The figure in words."""
    return info.missing or info.caption
