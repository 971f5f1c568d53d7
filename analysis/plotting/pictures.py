"""What the figures of images share: one trial per method and latent size, tiling, and labelled rows of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting import naming, style
from study.config import Origin, UserError
from study.results import pareto
from study.results.choice import Choice, choose, front_of
from study.results.frame import Arrays, StudyFrames

MOST_ROWS = 16
NO_PICTURES = "no completed trial has saved pictures"


def no_pair(pair: int) -> str:
    """Why there is nothing to draw of a pair that no trial has saved."""
    return f"no completed trial has saved a pair {pair} (the first is 0)"


class Representative(NamedTuple):
    """A trial that stands for its kind at its latent size: the one to recommend on their own front.

    Attributes:
        row: Its row in the trials.
        trial: Its label.
        method: Its method.
        latent_dim: Its latent size.
        arrays: Its saved arrays.
        text: Method and latent size, and what else tells it apart from the others.
    """

    row: int
    trial: str
    method: str
    latent_dim: int
    arrays: Arrays
    text: str

    @property
    def label(self) -> str:
        """What it is and the trial, in two lines or three."""
        kind, _, size = self.text.partition(", d=")
        return "\n".join([*kind.split(", ", 1), f"d={size} (trial {self.trial})"])


class Strips(NamedTuple):
    """Rows of images.

    Attributes:
        missing: Why there is nothing to draw, or "".
        title: Heading.
        labels: Text to the left of each row.
        methods: Method of each row, "" for a row of data.
        rows: Images of each row, uint8 [n, C, H, W].
        caption: Caption and alt text.
    """

    missing: str
    title: str = ""
    labels: Sequence[str] = ()
    methods: Sequence[str] = ()
    rows: Sequence[np.ndarray] = ()
    caption: str = ""


def best_by_size(frames: StudyFrames, choice: Choice) -> dict[tuple[str, int], int]:
    """(method, latent size) -> row of the trial to recommend among these: the study's if it is one of them."""
    methods, latent_dim = frames.text("method"), frames.column("latent_dim")
    best = {}
    for method in naming.methods_in_order(methods[choice.eligible]):
        members = choice.eligible & (methods == method)
        for size in np.unique(latent_dim[members]):
            best[method, int(size)] = _best(choice, members & (latent_dim == size))
    return best


def _best(choice: Choice, group: np.ndarray) -> int:
    """The row to recommend among some eligible trials, boolean [trials]: the study's if it is one of them."""
    if choice.recommended is not None and group[choice.recommended]:
        return choice.recommended
    front = front_of(choice.values, group)
    return int(front[pareto.recommended(choice.values[front])])


def _groups(frames: StudyFrames, choice: Choice, at_most: int) -> list[np.ndarray]:
    """The eligible trials by method and latent size, and by what else varies as long as that makes few groups.

    What else: what tells kinds of models apart (`StudyFrames.kinds`), and the weight if all are points of a grid.
    """
    rows = np.flatnonzero(choice.eligible)
    methods, latent_dim = frames.text("method")[rows], frames.column("latent_dim")[rows]
    order = naming.methods_in_order(methods)
    keys: list[tuple[Any, ...]] = [(order.index(m), int(d)) for m, d in zip(methods, latent_dim, strict=True)]
    is_grid = set(frames.text("origin")[rows]) <= {Origin.GRID, Origin.BASELINE}
    for name in (*frames.kinds, *(["weight"] if is_grid else [])):
        finer = [(*key, value) for key, value in zip(keys, frames.trials[name].iloc[rows].tolist(), strict=True)]
        if len(set(finer)) <= max(at_most, len(set(keys))):
            keys = finer
    members: dict[tuple[Any, ...], list[int]] = {}
    for key, row in zip(keys, rows.tolist(), strict=True):
        members.setdefault(key, []).append(row)
    every = np.arange(len(frames.trials))
    return [np.isin(every, members[key]) for key in sorted(members, key=lambda key: key[:2])]


def representatives(
    frames: StudyFrames, needed: str, at_most: int = MOST_ROWS, trials: Sequence[str] = ()
) -> list[Representative]:
    """One trial per method and latent size, in that order, of those that saved the needed array.

    Trials that differ otherwise, such as in their likelihood, are told apart too, as long as there are few groups.
    If there are more, whole latent sizes are left out, but never the recommended trial's.

    Args:
        frames: The study.
        needed: The array.
        at_most: How many trials.
        trials: Labels of the trials to take, all of them, in place of the chosen ones.

    Raises:
        UserError: One of `trials` does not exist, or has not saved the array.
    """
    if trials:
        return [_named(frames, needed, label) for label in trials]
    choice, labels, methods = choose(frames), frames.labels(), frames.text("method")
    latent_dim = frames.column("latent_dim")
    best = [_best(choice, group) for group in _groups(frames, choice, at_most)]
    sizes = [int(latent_dim[row]) for row in best]
    kept: set[int] = set()
    knee_size = None if choice.recommended is None else int(latent_dim[choice.recommended])
    for size in _by_importance(sorted(set(sizes)), knee_size):
        if not kept or sum(other in kept | {size} for other in sizes) <= at_most:
            kept.add(size)
    alike = [(methods[row], size) for row, size in zip(best, sizes, strict=True)]
    found = []
    for row, size in zip(best, sizes, strict=True):
        arrays = frames.arrays(row) if size in kept and len(found) < at_most else None
        if arrays is not None and needed in arrays and len(arrays[needed]):
            several = alike.count((methods[row], size)) > 1
            text = naming.configuration(frames, row) if several else f"{methods[row]}, d={size}"
            found.append(Representative(row, str(labels[row]), str(methods[row]), size, arrays, text))
    return found


def _named(frames: StudyFrames, needed: str, label: str) -> Representative:
    """The trial with that label."""
    labels = frames.labels().tolist()
    if label not in labels:
        raise UserError(f"no trial {label} in study {frames.name}: choose from {labels[0]} to {labels[-1]}")
    row = labels.index(label)
    arrays = frames.arrays(row) or {}
    if not len(arrays.get(needed, ())):
        raise UserError(f"trial {label} has saved no {needed.replace('_', ' ')}: it is {frames.text('outcome')[row]}")
    method, size = str(frames.text("method")[row]), int(frames.column("latent_dim")[row])
    return Representative(row, label, method, size, arrays, naming.configuration(frames, row))


def _by_importance(sizes: list[int], best: int | None) -> list[int]:
    """The best size, the smallest, the largest, then always the size farthest in rank from those before it."""
    order = list(dict.fromkeys(size for size in (best, *sizes[:1], *sizes[-1:]) if size is not None))
    while left := [size for size in sizes if size not in order]:
        taken = [sizes.index(size) for size in order]
        order.append(max(left, key=lambda size: min(abs(sizes.index(size) - place) for place in taken)))
    return order


def tile(images: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Joins images uint8 [N, C, H, W] into one RGB picture [rows, columns, 3] with white gaps."""
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
    axes.set_anchor("W")  # next to its label
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def text_colour(method: str) -> str:
    """The method's colour if text in it is readable on white, else black."""
    colour = style.method_style(method)[0] if method else "black"
    return "black" if colour in ("#F0E442", "#56B4E9") else colour


def label_row(axes: Axes, text: str, method: str) -> None:
    """Writes a label to the left of a row."""
    look: dict[str, Any] = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 7.5}
    axes.set_ylabel(text, color=text_colour(method), **look)


def plot_strips(info: Strips) -> Figure:
    """Draws the rows of images below each other."""
    most = max(len(row) for row in info.rows)
    pictures = [tile(row, most) for row in info.rows]
    longest = max(len(line) for label in info.labels for line in label.splitlines())
    shape = max(picture.shape[1] / picture.shape[0] for picture in pictures)
    width = max(0.2 + 0.06 * longest + 0.49 * shape, 0.08 * len(info.title))
    figure = style.new_figure(width, 0.4 + 0.56 * len(info.rows))
    panels = figure.subplots(len(info.rows), 1, squeeze=False)[:, 0]
    for axes, picture, label, method in zip(panels, pictures, info.labels, info.methods, strict=True):
        show(axes, picture)
        label_row(axes, label, method)
    figure.suptitle(info.title, fontsize=9, fontweight="bold")
    return figure


def describe_strips(info: Strips) -> str:
    """The figure's caption and alt text."""
    return info.caption
