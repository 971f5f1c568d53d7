"""A study of the trade-off between reconstruction and sampling in regularised autoencoders.

import study

found = study.run_study("wae_weight", num_trials=24)
found.figure("tradeoff")

Here is what a script or a notebook needs (docs/python.md), and of what a search space with components of its own is
made (docs/extending.md). Everything else is a command (`study --help`) or a room, see CONTRIBUTING. Importing this
imports none of the large libraries; what needs one imports it when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from study.api import control_study, preview_study, run_study
from study.components import Curve, Network
from study.config import DataSummary, TrialConfig, UserError
from study.found import Study, load_study
from study.objects import DataSource, FeatureNetwork, OwnFigure
from study.space import SearchSpace, first_weight, latent_sizes, weight_range

if TYPE_CHECKING:
    from study.data.arrays import from_arrays
    from study.data.image_data import ImageData
    from study.measure.metrics import Metric
    from study.model.likelihoods.base import Likelihood
    from study.model.regularizers.base import CriticRegularizer, Regularizer, draw_prior
    from study.model.sizes import NetworkSize
    from study.priors.density import Density

__all__ = [
    "CriticRegularizer",
    "Curve",
    "DataSource",
    "DataSummary",
    "Density",
    "FeatureNetwork",
    "ImageData",
    "Likelihood",
    "Metric",
    "Network",
    "NetworkSize",
    "OwnFigure",
    "Regularizer",
    "SearchSpace",
    "Study",
    "TrialConfig",
    "UserError",
    "control_study",
    "draw_prior",
    "first_weight",
    "from_arrays",
    "latent_sizes",
    "load_study",
    "preview_study",
    "run_study",
    "weight_range",
]

_NEEDS_TORCH = {
    "CriticRegularizer": "study.model.regularizers.base",
    "Density": "study.priors.density",
    "ImageData": "study.data.image_data",
    "Likelihood": "study.model.likelihoods.base",
    "Metric": "study.measure.metrics",
    "NetworkSize": "study.model.sizes",
    "Regularizer": "study.model.regularizers.base",
    "draw_prior": "study.model.regularizers.base",
    "from_arrays": "study.data.arrays",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_NEEDS_TORCH[name]), name)
