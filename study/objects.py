"""Components of a search space that are objects: data and feature networks of a user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from study.data.datasets import ImageData


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
