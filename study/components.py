"""What components are: parts of models, priors, metrics, data, feature networks and figures.

A component is one class (metrics and those of `study.objects`: one object) that says everything about itself. Those
that ship with this package are in `study.built_in`; a space names its own in `components=`, and nothing is registered
elsewhere. See docs/extending.md.

Its own hyperparameters are the parameters of its constructor that have a type and a default. `depth: int = 2` of a
network `mine` is the trial parameter `mine.depth`: Optuna may search it, MLflow and the tables show it.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from study.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from study.model.sizes import NetworkSize

Value = str | int | float
"""Of a hyperparameter; `bool` counts as `int`."""
FIELDS = ("network", "regularizer", "likelihood", "annealing")
"""Kinds of components that a trial names, each in the parameter of this name."""
_OBJECTS = {"metric": "function", "dataset": "load", "feature_network": "function", "figure": "draw"}
"""Kinds of components that are objects -> the function that they hold."""
_KINDS = (*FIELDS, "prior", *_OBJECTS)
DIRECTIONS = ("minimize", "maximize", "none")
SEEN = ("features", "images")
"""What a metric of a space's own may be given."""
_TAKES = {"regularizer": "the trial's config", "likelihood": "the data's summary"}
"""What the constructor of a component is given before its hyperparameters."""
_TYPES: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}


class Network(ABC):
    """An encoder and a decoder. Derive a frozen dataclass; its fields are its hyperparameters.

    Attributes:
        name: What `network` is called in trials.
        ranges: Least and largest value of hyperparameters, if they have any.
        downsampling: If the code is a map, by how much it is smaller than the image; None for a code without a map.
        reads_codes: Whether it is trained on the codes of a first stage in place of images, as `stacked`.
    """

    kind: ClassVar[str] = "network"
    name: ClassVar[str]
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    downsampling: ClassVar[int | None] = None
    reads_codes: ClassVar[bool] = False

    @abstractmethod
    def build(self, size: NetworkSize) -> tuple[nn.Module, nn.Module]:
        """The encoder and the decoder.

        Args:
            size: Of images, code and output.

        Returns:
            Encoder: images [B, C, H, W] in [0, 1] -> [B, `encoder_outputs`]. Decoder: codes [B, `latent_dim`] ->
            [B, `decoder_channels`, H, W], unbounded.
        """


class Curve(ABC):
    """An annealing curve. Derive a frozen dataclass; its fields are its hyperparameters.

    Attributes:
        name: What `annealing` is called in trials.
        ranges: As of a network.
    """

    kind: ClassVar[str] = "annealing"
    name: ClassVar[str]
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    @abstractmethod
    def __call__(self, share: float) -> float:
        """The multiplier in [0, 1] of the weight, at a share of the ramp in [0, 1). After the ramp it is 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
    """What a component says of itself, for readers that run no code of it: spaces, tables, figures, MLflow.

    Those of a space's own are in `study.json`, those of built-in ones in `study.built_in`. The attributes beside these
    are as in the component.

    Attributes:
        kind: One of the kinds.
        types: Type by hyperparameter.
        defaults: Default by hyperparameter; of built-in components alone.
    """

    kind: str
    name: str
    methods: dict[str, str] = dataclasses.field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    styles: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    weight_range: tuple[float, float] | None = None
    first_weight: float | None = None
    uses_kernel: bool = False
    is_kl: bool = False
    is_made_for_normal: bool = True
    downsampling: int | None = None
    reads_codes: bool = False
    direction: str = "none"
    caption: str = ""
    types: dict[str, Literal["bool", "int", "float", "str"]] = dataclasses.field(default_factory=dict)
    defaults: dict[str, Value] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, component: Any) -> Described:
        """The description of a component."""
        told = [name for name in cls.__dataclass_fields__ if name not in ("kind", "name", "types", "defaults")]
        facts = {name: getattr(component, name) for name in told if hasattr(component, name)}
        types: Any = {name: kind.__name__ for name, (kind, _) in hyperparameters(component).items()}
        return cls(kind=component.kind, name=component.name, types=types, **facts)


@dataclasses.dataclass(frozen=True)
class Components:
    """The components of a space, by kind and name.

    Attributes:
        items: As `SearchSpace.components`, or their descriptions.

    Raises:
        UserError: One of them is not a component, or two have the same name.
    """

    items: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        names = [_checked(item).name for item in self.items]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"components: two are called {twice[0]!r}; name each once")

    def of_kind(self, kind: str) -> dict[str, Any]:
        """The components of a kind, by name."""
        return {item.name: item for item in self.items if item.kind == kind}

    @property
    def parameters(self) -> dict[str, str]:
        """The type of every hyperparameter, by trial parameter: `mine.depth` -> `int`."""
        return {key: kind.__name__ for key, (kind, _) in self._hyperparameters()}

    @property
    def defaults(self) -> dict[str, Value]:
        """The default of every hyperparameter, by trial parameter."""
        return {key: default for key, (_, default) in self._hyperparameters()}

    def _hyperparameters(self) -> Iterator[tuple[str, tuple[type, Value]]]:
        for item in self.items:
            if item.kind in FIELDS:
                yield from ((f"{item.name}.{option}", found) for option, found in hyperparameters(item).items())

    def read(self, values: Mapping[str, Any], built_in: Components) -> dict[str, Value]:
        """Hyperparameters by trial parameter, converted to their types. Those of unknown components stay as they are.

        A built-in component's are left out if they are its default: then trials compare as they did before it had any.

        Args:
            values: As `mine.depth`.
            built_in: The components that need no naming.

        Raises:
            UserError: A component has no such hyperparameter, or it has another type or is out of range.
        """
        known = {item.name: item for item in (*built_in.items, *self.items) if item.kind in FIELDS}
        found: dict[str, Value] = {}
        for key, value in values.items():
            name, _, option = key.partition(".")
            if name not in known:
                found[key] = value
                continue
            options = hyperparameters(known[name])
            if option not in options:
                choice = ", ".join(f"{name}.{other}" for other in options) or "it has none of its own"
                raise UserError(f"unknown parameter {key}: choose from {choice}")
            kind, default = options[option]
            read = _converted(key, kind, value)
            low, high = getattr(known[name], "ranges", {}).get(option, (-math.inf, math.inf))
            if isinstance(read, int | float) and not low <= read <= high:
                raise UserError(f"{key}={read}: it must be from {low:g} to {high:g}")
            if read != default or known[name] not in built_in.items:
                found[key] = read
        return found

    def complete(
        self, chosen: Mapping[str, str], values: Mapping[str, Value], built_in: Components
    ) -> dict[str, Value]:
        """The hyperparameters of the chosen components, and of no other: of the space's own all, of built-in ones the
        given.

        Args:
            chosen: The component's name by kind.
            values: As of `read`.
            built_in: As of `read`.

        Raises:
            UserError: There is no such component.
        """
        for key in values:
            if key.partition(".")[0] not in [item.name for item in (*built_in.items, *self.items)]:
                choice = ", ".join([*self.parameters, *built_in.parameters])
                raise UserError(f"unknown parameter {key}: no component has it; choose from {choice}")
        complete: dict[str, Value] = {}
        for kind, name in chosen.items():
            if (component := self.of_kind(kind).get(name)) is not None:
                options = hyperparameters(component).items()
                complete |= {f"{name}.{option}": default for option, (_, default) in options}
            complete |= {key: value for key, value in values.items() if key.startswith(f"{name}.")}
        return complete


NO_COMPONENTS = Components()


def options_of(component: Any, values: Mapping[str, Value]) -> dict[str, Value]:
    """The hyperparameters of one component's class, by their names in its constructor.

    Args:
        component: The class.
        values: Hyperparameters by trial parameter, as `mine.depth`.
    """
    keys = {option: f"{component.name}.{option}" for option in hyperparameters(component)}
    return {option: values[key] for option, key in keys.items() if key in values}


def hyperparameters(component: Any) -> dict[str, tuple[type, Value]]:
    """Type and default of each hyperparameter of a component's own, by its name in the constructor.

    Raises:
        UserError: One has another type than `bool`, `int`, `float` and `str`, or none.
    """
    if isinstance(component, Described):
        given: Any = component.defaults
        return {name: (_TYPES[kind], given.get(name, _TYPES[kind]())) for name, kind in component.types.items()}
    if not isinstance(component, type):
        return {}
    constructor: Any = component.__init__
    found: dict[str, tuple[type, Value]] = {}
    for name, parameter in inspect.signature(constructor).parameters.items():
        if parameter.default is inspect.Parameter.empty:
            continue
        # With `from __future__ import annotations` it is text, and the names of other parameters need not exist.
        kind = getattr(parameter.annotation, "__name__", parameter.annotation)
        if kind not in _TYPES:
            raise UserError(f"component {component.__name__}: give its {name} the type bool, int, float or str")
        found[name] = _TYPES[kind], parameter.default
    return found


def _checked(item: Any) -> Any:
    label = getattr(item, "__name__", None) or repr(item)
    if getattr(item, "kind", None) not in _KINDS:
        raise UserError(
            f"components: {label} is none; derive from study.Network, Regularizer, Likelihood, Curve or Density, "
            "or give a Metric, DataSource, FeatureNetwork or OwnFigure"
        )
    if item.kind in (*FIELDS, "prior") and not isinstance(item, type | Described):
        raise UserError(f"components: give the class {type(item).__name__} itself, not an instance of it")
    name = getattr(item, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"components: {label} needs a name of small letters, digits and _, not {name!r}")
    if isinstance(item, type) and inspect.isabstract(item):
        missing = ", ".join(sorted(getattr(item, "__abstractmethods__", ())))
        raise UserError(f"components: {label} does not define {missing}")
    if isinstance(item, type) and item.kind in _TAKES:
        first = next(iter(inspect.signature(item).parameters.values()), None)
        if first is None or first.default is not inspect.Parameter.empty:
            raise UserError(f"components: {label}.__init__ must take {_TAKES[item.kind]} first, without a default")
    if item.kind in _OBJECTS and not isinstance(item, Described) and not callable(getattr(item, _OBJECTS[item.kind])):
        raise UserError(f"components: {item.kind.replace('_', ' ')} {name} needs a function as {_OBJECTS[item.kind]}")
    if item.kind == "metric" and not isinstance(item, Described):
        for field, values in {"direction": DIRECTIONS, "sees": SEEN}.items():
            if getattr(item, field) not in values:
                raise UserError(
                    f"components: metric {name} has {field}={getattr(item, field)!r}: choose from {', '.join(values)}"
                )
    hyperparameters(item)
    return item


def _converted(key: str, kind: type, value: Any) -> Value:
    if kind is bool and value in ("True", "False"):
        return value == "True"
    if isinstance(value, bool) == (kind is bool) and (kind is not str or isinstance(value, str)):
        try:
            converted = kind(value)
            if kind is not int or isinstance(value, str) or converted == value:
                return converted
        except (TypeError, ValueError, OverflowError):
            pass
    raise UserError(f"{key}={value!r}: it must be of type {kind.__name__}")
