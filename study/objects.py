"""Components of a search space that are objects: data, feature networks and figures of a user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from study.data.datasets import ImageData
    from study.found import Study


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSource:
    """Images of a user's own.

    Attributes:
        name: What `--dataset` is called.
        load: Gives the data, for example from `study.from_arrays`. The study's first process calls it.
    """

    kind: ClassVar[str] = "dataset"
    name: str
    load: Callable[[], ImageData]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureNetwork:
    """What samples are compared in.

    Attributes:
        name: What `--feature-network` is called.
        function: Images [B, C, H, W] in [0, 1] -> features [B, d], on the images' device and always the same.
    """

    kind: ClassVar[str] = "feature_network"
    name: str
    function: Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnFigure:
    """A figure for a study's end and its report.

    Attributes:
        name: Of its file, and for `Study.figure`.
        draw: Draws what a study has found. The process that runs the study calls it.
        caption: Stands below it in the report.
    """

    kind: ClassVar[str] = "figure"
    name: str
    draw: Callable[[Study], Figure]
    caption: str = ""
