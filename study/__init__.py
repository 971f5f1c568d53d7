"""A study of the trade-off between reconstruction and sampling in regularised autoencoders.

What a search space needs is here, and is imported when it is used. Everything else is a command (`python -m study.run
--help`) or a room, see CONTRIBUTING.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from study.components import Curve, DataSource, Network
from study.config import DataSummary, TrialConfig, UserError
from study.space import SearchSpace, weight_range

if TYPE_CHECKING:
    from study.data.arrays import from_arrays
    from study.data.image_data import ImageData
    from study.measure.metrics import Metric
    from study.model.likelihoods import Likelihood
    from study.model.regularizers import CriticRegularizer, Regularizer, draw_prior
    from study.model.sizes import NetworkSize

__all__ = [
    "CriticRegularizer",
    "Curve",
    "DataSource",
    "DataSummary",
    "ImageData",
    "Likelihood",
    "Metric",
    "Network",
    "NetworkSize",
    "Regularizer",
    "SearchSpace",
    "TrialConfig",
    "UserError",
    "draw_prior",
    "from_arrays",
    "weight_range",
]

_IMPORTS_TORCH = {
    "CriticRegularizer": "study.model.regularizers",
    "ImageData": "study.data.image_data",
    "Likelihood": "study.model.likelihoods",
    "Metric": "study.measure.metrics",
    "NetworkSize": "study.model.sizes",
    "Regularizer": "study.model.regularizers",
    "draw_prior": "study.model.regularizers",
    "from_arrays": "study.data.arrays",
}


def __getattr__(name: str) -> Any:
    if name not in _IMPORTS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_IMPORTS_TORCH[name]), name)
