"""A study of the trade-off between reconstruction and sampling in regularised autoencoders.

import study

found = study.run_study("wae_weight", num_trials=24)
found.figure("tradeoff")

Here is what a search space, a script or a notebook needs (docs/python.md). Everything else is a command
(`study --help`) or a room, see CONTRIBUTING. Importing this imports none of the large libraries.
"""

from study.api import preview_study, run_study
from study.config import DataSummary, TrialConfig, UserError
from study.found import Study, load_study
from study.space import SearchSpace, weight_range

__all__ = [
    "DataSummary",
    "SearchSpace",
    "Study",
    "TrialConfig",
    "UserError",
    "load_study",
    "preview_study",
    "run_study",
    "weight_range",
]
