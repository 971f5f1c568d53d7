"""The configuration of a trial and the summary of its data, as frozen dataclasses without torch and Ray.

`TrialConfig` is flat on purpose: one field is one Optuna parameter, one MLflow param and one DataFrame column, and
every run has the same set of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from study.ranges import RANGES

Params = dict[str, str | int | float]

METHODS: dict[str, tuple[str, str]] = {
    "AE": ("deterministic", "none"),
    "Gaussian AE": ("gaussian", "none"),
    "VAE": ("gaussian", "kl"),
    "WAE-MMD": ("deterministic", "mmd"),
    "WAE-MMD Gaussian": ("gaussian", "mmd"),
    "WAE-GAN": ("deterministic", "adversarial"),
    "WAE-GAN Gaussian": ("gaussian", "adversarial"),
    "RAE-L2": ("deterministic", "rae_l2"),
    "InfoVAE": ("gaussian", "info_vae"),
    "SWAE": ("deterministic", "sliced_wasserstein"),
    "SWAE Gaussian": ("gaussian", "sliced_wasserstein"),
}
"""Method name -> (encoder, regularizer). The pair defines the method; the name is for people."""

DOWNSAMPLING: dict[str, int] = {"residual_f4": 4, "residual_f8": 8}
"""Network whose code is a map -> by how much the map is smaller than the image. Codes of other networks have no map."""
NO_MAP = "-"
"""`TrialConfig.latent_shape` of a code that is no map, or whose map nobody has named yet."""
FOR_FITTED_PRIORS = ("none", "rae_l2")
"""Regularizers that do not make the codes N(0, I). Their models are meant to be sampled from a fitted prior."""


class UserError(Exception):
    """A mistake that the user can correct. The commands print it as one line and exit with status 2."""


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
        regularizer: A name in `study.model.regularizers.REGULARIZERS`.
        weight: w in `loss = D + w * m(t) * R`: nats of D per unit of R, at one likelihood for every method.
        kernel: Kernel of the MMD, `imq` or `rbf`; `none` if no kernel is used.
        latent_dim: Size of the code z. Where it is a map, the units of all its channels and pixels.
        latent_shape: The map's channels, height and width, as in `16x8x8`; `-` if the code is no map. It follows from
            the other fields and the images: see `with_map`.
        annealing: A name in `study.model.schedules.SCHEDULES`, the m(t) above.
        annealing_fraction: Share of the training that the schedule takes to reach its full weight, in [0, 1].
        target_error: Requested mean squared error per pixel on the validation split. w then begins at `weight` and is
            adapted while training, see `study.model.target_error`; 0 requests none, and w stays.
        network: A name in `study.model.networks.NETWORKS`.
        width: Units of a hidden layer, or channels of the first convolution.
        likelihood: A name in `study.model.likelihoods.LIKELIHOODS`, the D above.
        perceptual_weight: Weight of the perceptual term in D; 0 leaves it out.
        total_variation_weight: Weight of the total-variation term in D; 0 leaves it out.
        learning_rate: Adam's step size.
        batch_size: Images in a step.
        epochs: Passes over the training split.
        seed: Seeds initialisation, batch order and noise.
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
    batch_size: int = 64
    epochs: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (field.name for field in dataclasses.fields(self) if field.name in RANGES):
            if not RANGES[name].holds(getattr(self, name)):
                raise UserError(f"{name}={getattr(self, name)}: it must be {RANGES[name]}")
        if self.annealing != "constant" and not self.annealing_fraction:
            raise UserError(f"annealing={self.annealing}: give an annealing_fraction above 0, or it anneals nothing")
        if self.target_error and (self.regularizer == "none" or not self.weight):
            raise UserError(f"target_error={self.target_error}: give a regularizer and a weight above 0 to begin with")
        if self.target_error and self.annealing != "constant":
            raise UserError(f"target_error={self.target_error}: it adapts the weight itself; use annealing=constant")
        if self.encoder not in ("deterministic", "gaussian"):
            raise UserError(f"encoder={self.encoder!r}: choose from deterministic, gaussian")

    @property
    def method(self) -> str:
        """The method's name, or `encoder + regularizer` for a pair without one."""
        pair = (self.encoder, self.regularizer)
        return next((name for name, known in METHODS.items() if known == pair), " + ".join(pair))

    def code_map(self, data: DataSummary) -> tuple[int, int, int] | None:
        """Channels, height and width of the code's map for these images; None if the code is no map.

        Raises:
            UserError: `latent_dim` is no multiple of the map's pixels, or `latent_shape` names another map.
        """
        factor = DOWNSAMPLING.get(self.network)
        shape = None
        if factor is not None:
            pixels = map_pixels(data, self.network)
            channels, rest = divmod(self.latent_dim, pixels)
            if rest or not channels:
                below = f"{channels * pixels} or " if channels else ""
                raise UserError(
                    f"latent_dim={self.latent_dim}: network {self.network} needs a multiple of {pixels} for images of "
                    f"{data.height}x{data.width}, the nearest is {below}{(channels + 1) * pixels}"
                )
            shape = (channels, -(-data.height // factor), -(-data.width // factor))
        if self.latent_shape not in (NO_MAP, _shape_text(shape)):
            raise UserError(
                f"latent_shape={self.latent_shape}: with this network, latent_dim and images it is "
                f"{_shape_text(shape)}; leave it out"
            )
        return shape

    def with_map(self, data: DataSummary) -> TrialConfig:
        """This config with the `latent_shape` that it has for these images.

        Raises:
            UserError: As `code_map`.
        """
        return dataclasses.replace(self, latent_shape=_shape_text(self.code_map(data)))

    @property
    def is_made_for_normal(self) -> bool:
        """Whether the method shapes the codes for draws from N(0, I)."""
        return self.regularizer not in FOR_FITTED_PRIORS

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> TrialConfig:
        """Builds a config from flat parameters, strictly.

        Args:
            params: Field values by name; strings are converted to the field's type, so that MLflow params can be read
                back. Missing fields keep their defaults. `method` is derived, and checked if it is given.

        Raises:
            UserError: A name is not a field, or a value has the wrong type or is out of range.
        """
        fields = {field.name: str(field.type) for field in dataclasses.fields(cls)}
        unknown = sorted(set(params) - set(fields) - {"method"})
        if unknown:
            raise UserError(f"unknown parameter {', '.join(unknown)}: choose from {', '.join(fields)}")
        values: dict[str, Any] = {
            key: _read(key, fields[key], value) for key, value in params.items() if key != "method"
        }
        config = cls(**values)
        if params.get("method", config.method) != config.method:
            raise UserError(f"method={params['method']!r} contradicts encoder and regularizer ({config.method})")
        return config

    def to_params(self) -> Params:
        """The flat parameters, `method` among them; `from_params` reads them back to an equal config."""
        return {"method": self.method, **dataclasses.asdict(self)}

    def replace(self, **changes: Any) -> TrialConfig:
        """A copy with some fields changed, checked as strictly as `from_params`."""
        return TrialConfig.from_params({**dataclasses.asdict(self), **changes})


def map_pixels(data: DataSummary, network: str) -> int:
    """Pixels of a code map, height times width: a code of c channels has c times as many units.

    Raises:
        UserError: The network's codes are no maps.
    """
    if network not in DOWNSAMPLING:
        raise UserError(f"network={network}: its code is no map; choose from {', '.join(DOWNSAMPLING)}")
    factor = DOWNSAMPLING[network]
    return -(-data.height // factor) * -(-data.width // factor)


def _shape_text(shape: tuple[int, int, int] | None) -> str:
    return NO_MAP if shape is None else "x".join(map(str, shape))


def _read(name: str, kind: str, value: Any) -> str | int | float:
    try:
        if isinstance(value, bool):
            raise ValueError(value)
        if kind == "str":
            if not isinstance(value, str):
                raise ValueError(value)
            return value
        number = float(value)
        if kind == "int":
            if isinstance(value, int):
                return value
            if not number.is_integer():
                raise ValueError(value)
            return int(value) if isinstance(value, str) else int(number)
        return number
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
