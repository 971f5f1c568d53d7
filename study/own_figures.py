"""Figures of a search space's own: drawn by the process that runs a study, or on demand; a report shows their files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.disk.layout import figure_path
from study.errors import UserError, located_errors
from study.objects import OwnFigure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.figure import Figure

    from study.found import Study


def drawn(figure: OwnFigure, study: Study) -> Figure:
    """What a figure's function draws of a study.

    Raises:
        UserError: It raised an error, whose place the message tells, or returned no matplotlib figure.
    """
    from matplotlib.figure import Figure

    with located_errors():
        found: Any = figure.draw(study)
    if not isinstance(found, Figure):
        raise UserError(f"its draw returned {type(found).__name__}; return a matplotlib Figure")
    return found


def draw_own_figures(figures: Iterable[OwnFigure], study: Study) -> list[str]:
    """Draws figures into the study's folder, as PNGs.

    Returns:
        A line for each that could not be drawn; its earlier file is removed.
    """
    from analysis.plotting import style

    complaints = []
    for figure in figures:
        path: Path = figure_path(study.directory, figure.name)
        try:
            found = drawn(figure, study)
            style.save(found, path, "png")
            if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:  # it would keep the figure for ever
                pyplot.close(found)
        except UserError as error:
            path.unlink(missing_ok=True)
            complaints.append(f"figure   {figure.name} not drawn: {error}")
    return complaints
