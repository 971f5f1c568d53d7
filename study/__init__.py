"""A study of the trade-off between reconstruction and sampling in regularised autoencoders.

What a search space needs is here. Everything else is a command (`python -m study.run --help`) or a room, see
CONTRIBUTING.
"""

from study.config import DataSummary, TrialConfig, UserError
from study.space import SearchSpace, weight_range

__all__ = ["DataSummary", "SearchSpace", "TrialConfig", "UserError", "weight_range"]
