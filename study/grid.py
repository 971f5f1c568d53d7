"""A grid written once: its points, and what a space suggests, from the values of each parameter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from study.errors import UserError

if TYPE_CHECKING:
    import optuna

    from study.config import DataSummary

Values = Mapping[str, Sequence[Any] | Callable[..., Sequence[Any]]]
"""The values of each parameter, or a function `data -> values`."""
Derive = Callable[[Mapping[str, Any], "DataSummary"], Mapping[str, Any]]


class GridSuggest:
    """The `suggest` of a space whose grid is given as values.

    Args:
        given: The values by parameter.
        derive: As `SearchSpace.derive`.
        module: The name of the module that defines the space.
        file: Its file.
        line: Where in it.

    Attributes:
        functions: The functions among what was given, by name: a part of the space's code.
        plain: The values among it.
        defined_at: File and line.

    Raises:
        UserError: A parameter has no values, or no sequence of them.
    """

    def __init__(self, given: Values, derive: Derive | None, module: str, file: str, line: int) -> None:
        self._given, self._derive = dict(given), derive
        self.defined_at = file, line
        self.__module__ = module
        if not given:
            raise UserError("SearchSpace(grid={}): name at least one parameter with its values")
        self.functions: dict[str, Callable[..., Any]] = {k: values for k, values in given.items() if callable(values)}
        if derive is not None:
            self.functions["derive"] = derive
        self.plain = {name: _checked(name, values) if not callable(values) else name for name, values in given.items()}

    def values(self, data: DataSummary) -> dict[str, tuple[Any, ...]]:
        """The values of each parameter on a data set."""
        return {
            name: _checked(name, values(data) if callable(values) else values) for name, values in self._given.items()
        }

    def points(self, data: DataSummary) -> list[dict[str, Any]]:
        """All points; the values of the last parameter change fastest."""
        values = self.values(data)
        return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]

    @property
    def size(self) -> int | None:
        """The number of points; None if it depends on the data."""
        return None if self.functions.keys() & self._given.keys() else math.prod(map(len, self.plain.values()))

    def __call__(self, trial: optuna.trial.BaseTrial, data: DataSummary) -> dict[str, Any]:
        """What a space suggests: a point, and what follows from it."""
        point = {name: trial.suggest_categorical(name, values) for name, values in self.values(data).items()}
        return {**point, **(self._derive(point, data) if self._derive else {})}


def _checked(name: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise UserError(f"grid: {name!r} has {values!r}: give its values in a tuple, or a function of the data")
    if strange := [value for value in values if type(value) not in (str, int, float, bool)]:  # an enum is no plain text
        raise UserError(f"grid: {name!r} has the value {strange[0]!r}: values are numbers and texts")
    if len(set(values)) < len(values):
        raise UserError(f"grid: {name!r} has a value twice: {values!r}")
    return tuple(values)
