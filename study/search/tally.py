"""How many trials of a study ended in which way, and their best values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass
class Tally:
    """Where a study stands.

    Attributes:
        objectives: Direction by objective.
        completed: Trials trained to their end.
        stopped: Trials stopped early.
        failed: Trials that failed.
        running: Trials handed out in this session and not yet recorded.
        extra: Whether it counts the trials beyond the search.
        best: The best value of each objective among completed trials.
    """

    objectives: Mapping[str, str]
    completed: int = 0
    stopped: int = 0
    failed: int = 0
    running: int = 0
    extra: bool = False
    best: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def done(self) -> int:
        """Trials that have ended."""
        return self.completed + self.stopped + self.failed

    def add(self, outcome: str, values: Mapping[str, float] | None) -> None:
        """Counts a trial that ended."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome == "completed" and values is not None:
            for name, direction in self.objectives.items():
                better = min if direction == "minimize" else max
                self.best[name] = better(self.best.get(name, values[name]), values[name])
