"""The configuration of a trial and the summary of its data, as frozen dataclasses without torch and Ray.

`TrialConfig` is flat on purpose: one field is one Optuna parameter, MLflow param and DataFrame column of every run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from study.built_in import BUILT_IN
from study.code_map import NO_MAP, map_shape, shape_text
from study.components import FIELDS, NO_COMPONENTS, Components, Value, options_of
from study.errors import UserError
from study.ranges import CHOICES, RANGES, typed

Params = dict[str, str | int | float]


class Origin(StrEnum):
    """Why a trial exists. The values are stored in ledgers, in `trial.json` and in MLflow."""

    BASELINE = "reference"
    """A configuration of the space's `baselines`, to compare the search with."""
    GRID = "grid"
    """A point of a grid."""
    FIRST = "first"
    """A point to try before the sampler takes over."""
    SEARCH = "search"
    """Suggested by the sampler."""
    REPLICATE = "replicate"
    """Another trial's configuration with another seed."""
    RETRAIN = "retrain"
    """Another trial's configuration with another number of epochs."""

    @property
    def label(self) -> str:
        """Its name for people; `reference` is what earlier versions called a baseline trial."""
        return "baseline" if self is Origin.BASELINE else self.value

    @property
    def is_fixed(self) -> bool:
        """Known before the search begins. Such a trial is never stopped early; others are still compared with it.

        First points are spared too: people chose them to span the trade-off, and they come to the rungs while these
        are nearly empty. Without this the default study on digits lost the best-sampling end of its front.
        """
        return self in (Origin.BASELINE, Origin.GRID, Origin.FIRST)

    @property
    def is_searched(self) -> bool:
        """A point of the search space, with its parameters in the ledger. Samplers learn from these trials alone."""
        return self in (Origin.GRID, Origin.FIRST, Origin.SEARCH)

    @property
    def is_extra(self) -> bool:
        """Beyond the search, made from one of its trials. It does not count towards `num_trials` nor join the front."""
        return self in (Origin.REPLICATE, Origin.RETRAIN)


EXTRA_ORIGINS = tuple(origin for origin in Origin if origin.is_extra)
"""For columns of origins: `np.isin(column, EXTRA_ORIGINS)`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One training run, complete: equal configs on one machine give bitwise equal results on the CPU.

    Attributes:
        dataset: A name in `study.data.datasets.DATASETS`, or `folder:PATH`, `npz:PATH`, `npy:PATH`.
        encoder: `deterministic`, or `gaussian` (diagonal, by reparametrisation).
        regularizer: A name in `study.model.building.REGULARIZERS`.
        weight: w in `loss = D + w * m(t) * R`: nats of D per unit of R, at one likelihood for every method.
        kernel: Kernel of the MMD, `imq` or `rbf`; `none` if no kernel is used.
        latent_dim: Size of the code z. Where it is a map, the units of all its channels and pixels.
        latent_shape: The map's channels, height and width, as in `16x8x8`; `-` if the code is no map. It follows from
            the other fields and the images: see `with_map`.
        annealing: A name in `study.model.building.SCHEDULES`, the m(t) above.
        annealing_fraction: Share of the training that the schedule takes to reach its full weight, in [0, 1].
        target_error: Requested mean squared error per pixel on the validation split. w then begins at `weight` and is
            adapted while training, see `study.model.target_error`; 0 requests none, and w stays.
        network: A name in `study.model.building.NETWORKS`.
        width: Units of a hidden layer, or channels of the first convolution.
        likelihood: A name in `study.model.building.LIKELIHOODS`, the D above.
        perceptual_weight: Weight of the perceptual term in D; 0 leaves it out.
        total_variation_weight: Weight of the total-variation term in D; 0 leaves it out.
        learning_rate: Adam's step size.
        learning_rate_schedule: A name in `study.model.learning_rate.LEARNING_RATE_SCHEDULES`: how that size falls.
        weight_decay: AdamW's decay of the weights of encoder and decoder, per unit of learning rate.
        batch_size: Images in a step.
        precision: In which numbers the networks are trained: `float32`, or `bf16`, see `study.model.precision`.
            Losses, penalties, the optimiser and all measuring are in float32.
        epochs: Passes over the training split.
        seed: Seeds initialisation, batch order and noise.
        own: Hyperparameters of the space's own components, by trial parameter such as `mine.depth`, sorted.
        components: The space's own components. They are code, and no part of what is compared and recorded.
    """

    dataset: str = "digits"
    encoder: str = "deterministic"
    regularizer: str = "none"
    weight: float = 0.0
    kernel: str = "none"
    latent_dim: int = 8
    latent_shape: str = NO_MAP
    annealing: str = "constant"
    annealing_fraction: float = 0.0
    target_error: float = 0.0
    network: str = "mlp"
    width: int = 128
    likelihood: str = "gaussian"
    perceptual_weight: float = 0.0
    total_variation_weight: float = 0.0
    learning_rate: float = 2e-3
    learning_rate_schedule: str = "constant"
    weight_decay: float = 0.0
    batch_size: int = 64
    precision: str = "float32"
    epochs: int = 60
    seed: int = 0
    own: tuple[tuple[str, Value], ...] = ()
    components: Components = dataclasses.field(default=NO_COMPONENTS, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in (name for name in PARAMS if name in RANGES and not RANGES[name].holds(getattr(self, name))):
            raise UserError(f"{name}={getattr(self, name)}: it must be {RANGES[name]}")
        if self.annealing != "constant" and not self.annealing_fraction:
            raise UserError(f"annealing={self.annealing}: give an annealing_fraction above 0, or it anneals nothing")
        if self.target_error and (self.regularizer == "none" or not self.weight):
            raise UserError(f"target_error={self.target_error}: give a regularizer and a weight above 0 to begin with")
        if self.target_error and self.annealing != "constant":
            raise UserError(f"target_error={self.target_error}: it adapts the weight itself; use annealing=constant")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"{name}={getattr(self, name)!r}: choose from {', '.join(choices)}")

    @property
    def method(self) -> str:
        """The method's name, or `encoder + regularizer` for a pair without one."""
        named = getattr(self.part("regularizer"), "methods", {}).get(self.encoder)
        return named or f"{self.encoder} + {self.regularizer}"

    def part(self, kind: str) -> Any | None:
        """The component that the trial names: one of the space's own, or the description of a built-in one; None if
        neither has it.

        Args:
            kind: A field that names a component.
        """
        name = getattr(self, kind)
        return self.components.of_kind(kind).get(name, BUILT_IN.of_kind(kind).get(name))

    @property
    def runs_own_code(self) -> bool:
        """Whether training runs code of the space's own in each step."""
        return any(getattr(self, kind) in self.components.of_kind(kind) for kind in FIELDS if kind != "annealing")

    def build(self, kind: str, built_in: Mapping[str, Callable[..., Any]], *arguments: Any) -> Any:
        """An instance of the component that the trial names, with its hyperparameters.

        Args:
            kind: A field that names a component.
            built_in: The built-in ones of that kind, by name.
            arguments: What every component of this kind is built from.

        Raises:
            UserError: There is none of that name.
        """
        own, name = self.components.of_kind(kind), getattr(self, kind)
        if name not in own and name not in built_in:
            raise UserError(f"{kind}={name!r}: choose from {', '.join([*own, *built_in])}")
        found = own[name] if name in own else built_in[name]
        return found(*arguments, **options_of(found, dict(self.own)))

    def code_map(self, data: DataSummary) -> tuple[int, int, int] | None:
        """Channels, height and width of the code's map for these images; None if the code is no map.

        Raises:
            UserError: `latent_dim` is no multiple of the map's pixels, or `latent_shape` names another map.
        """
        factor = getattr(self.part("network"), "downsampling", None)
        shape = None if factor is None else map_shape(data, self.network, factor, self.latent_dim)
        if self.latent_shape not in (NO_MAP, shape_text(shape)):
            raise UserError(
                f"latent_shape={self.latent_shape}: with this network, latent_dim and images it is "
                f"{shape_text(shape)}; leave it out"
            )
        return shape

    def with_map(self, data: DataSummary) -> TrialConfig:
        """This config with the `latent_shape` that it has for these images.

        Raises:
            UserError: As `code_map`.
        """
        return dataclasses.replace(self, latent_shape=shape_text(self.code_map(data)))

    @property
    def reads_codes(self) -> bool:
        """Whether its network is trained on the codes of a first stage in place of images."""
        return getattr(self.part("network"), "reads_codes", False)

    @property
    def trains_kl(self) -> bool:
        """Whether its penalty is the KL divergence of each posterior to the prior."""
        return getattr(self.part("regularizer"), "is_kl", False)

    @property
    def is_made_for_normal(self) -> bool:
        """Whether the method shapes the codes for draws from N(0, I)."""
        return getattr(self.part("regularizer"), "is_made_for_normal", True)

    @classmethod
    def from_params(cls, params: Mapping[str, Any], components: Components = NO_COMPONENTS) -> TrialConfig:
        """Builds a config from flat parameters, strictly.

        Args:
            params: Field values by name; strings are converted to the field's type, so that MLflow params can be read
                back. Missing fields keep their defaults. `method` is derived, and checked if it is given. A name with
                a dot is a hyperparameter of a component of a space's own.
            components: The space's own components. Without them, their hyperparameters are taken as they are.

        Raises:
            UserError: A name is not a field, or a value has the wrong type or is out of range.
        """
        own = components.read({key: value for key, value in params.items() if "." in key}, BUILT_IN)
        unknown = sorted(name for name in set(params) - set(PARAMS) - {"method"} if "." not in name)
        if unknown:
            raise UserError(f"unknown parameter {', '.join(unknown)}: choose from {', '.join(PARAMS)}")
        values: dict[str, Any] = {key: _read(key, PARAMS[key], value) for key, value in params.items() if key in PARAMS}
        config = cls(**values, own=tuple(sorted(own.items())), components=components)
        if config.part("regularizer") is not None and params.get("method", config.method) != config.method:
            raise UserError(f"method={params['method']!r} contradicts encoder and regularizer ({config.method})")
        return config

    def to_params(self) -> Params:
        """The flat parameters, `method` among them; `from_params` reads them back to an equal config."""
        return {"method": self.method, **{name: getattr(self, name) for name in PARAMS}, **dict(self.own)}

    def replace(self, **changes: Any) -> TrialConfig:
        """A copy with some parameters changed, checked as strictly as `from_params`."""
        params = {name: value for name, value in self.to_params().items() if name != "method"}
        return TrialConfig.from_params({**params, **changes}, self.components)

    def completed(self) -> TrialConfig:
        """This config with every hyperparameter of the components that it names, and with no other.

        Raises:
            UserError: A hyperparameter belongs to no component of the space.
        """
        own = self.components.complete({kind: getattr(self, kind) for kind in FIELDS}, dict(self.own), BUILT_IN)
        return dataclasses.replace(self, own=tuple(sorted(own.items())))


PARAMS: dict[str, str] = {
    field.name: str(field.type) for field in dataclasses.fields(TrialConfig) if field.name not in ("own", "components")
}
"""Trial parameter -> its type; those of own components come on top, see `TrialConfig.own`."""


def _read(name: str, kind: str, value: Any) -> str | int | float:
    try:
        return typed(kind, value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{name}={value!r}: it must be {'text' if kind == 'str' else 'of type ' + kind}") from None


FEW_IMAGES = 50
"""With fewer images to measure with, scores of samples are noise: the user is told so, and no trial is recommended."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What a search space knows of a data set: enough for weight ranges and sensible defaults, but no pixels.

    Attributes:
        name: The data set as the user named it.
        channels: Colour channels.
        height: Pixels.
        width: Pixels.
        train_size: Images in the training split.
        validation_size: Images in the validation split.
        test_size: Images in the test split.
        num_classes: Classes of the labels.
        total_variance: Sum over pixels and channels of the training images' variance on [0, 1]: the natural scale of w.
        hash: Content hash of all three splits, images and labels.
        defaults: Trial parameters that suit this data set (network, width, batch_size, learning_rate, epochs).
    """

    name: str
    channels: int
    height: int
    width: int
    train_size: int
    validation_size: int
    test_size: int
    num_classes: int
    total_variance: float
    hash: str
    defaults: Params

    @property
    def held_out(self) -> int:
        """Images that models are measured with, in the smaller of the two splits."""
        return min(self.validation_size, self.test_size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.channels, self.height, self.width
