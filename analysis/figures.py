"""Every figure of the report, in its order. A new one: a module with the three functions, and one line below."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from analysis import tradeoff
from analysis.frame import StudyFrames


@dataclasses.dataclass(frozen=True)
class FigureSpec:
    """One figure.

    Attributes:
        title: Heading in the report.
        info: Frames to the numbers the figure shows; its `missing` is "" or says why there is nothing to draw.
        plot: The numbers to a picture.
        describe: The numbers to words, for caption and alt text.
    """

    title: str
    info: Callable[[StudyFrames], Any]
    plot: Callable[[Any], Figure]
    describe: Callable[[Any], str]


FIGURES: dict[str, FigureSpec] = {
    "tradeoff": FigureSpec("The trade-off", tradeoff.tradeoff_info, tradeoff.plot, tradeoff.describe),
}
