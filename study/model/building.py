"""The parts that a trial names, built: each a component of the space's own, or a built-in one."""

from __future__ import annotations

from study.built_in import classes_in
from study.components import Curve, Network
from study.config import DataSummary, TrialConfig
from study.errors import UserError
from study.model.autoencoder import Autoencoder
from study.model.divergences import KERNELS
from study.model.likelihoods.base import Likelihood
from study.model.regularizers.base import Regularizer
from study.model.schedules.base import Schedule, Shape
from study.model.sizes import NetworkSize
from study.model.stacked import FirstStage

NETWORKS: dict[str, type[Network]] = classes_in("study.model.networks")
LIKELIHOODS: dict[str, type[Likelihood]] = classes_in("study.model.likelihoods")
REGULARIZERS: dict[str, type[Regularizer]] = classes_in("study.model.regularizers")
SCHEDULES: dict[str, type[Curve] | type[Schedule]] = classes_in("study.model.schedules")


def build_autoencoder(config: TrialConfig, summary: DataSummary) -> Autoencoder:
    """An untrained autoencoder, initialised from torch's global generator, which the caller seeds.

    A model that reads codes comes with an untrained first stage: load the state of a trained one into `first_stage`.

    Raises:
        UserError: `network` or `likelihood` is unknown, they do not go together, or `latent_dim` makes no whole map.
    """
    config.code_map(summary)  # it refuses a latent size that makes no whole map
    first_stage = None
    seen = summary
    network = config.build("network", NETWORKS)
    if network.reads_codes:
        first_stage = FirstStage(summary)
        seen = first_stage.summary
    likelihood = build_likelihood(config, seen)
    if network.reads_codes and not (
        likelihood.unbounded and config.perceptual_weight == config.total_variation_weight == 0
    ):
        unbounded = [name for name, found in LIKELIHOODS.items() if found.unbounded]
        raise UserError(
            f"network={config.network} reconstructs codes, not pixels: use likelihood {', '.join(unbounded)}, without "
            "perceptual and total-variation terms"
        )
    encoder, decoder = network.build(
        NetworkSize(
            channels=seen.channels,
            height=seen.height,
            width=seen.width,
            latent_dim=config.latent_dim,
            encoder_outputs=config.latent_dim * (2 if config.encoder == "gaussian" else 1),
            decoder_channels=seen.channels * likelihood.maps,
            hidden=config.width,
        )
    )
    return Autoencoder(config, summary, encoder, decoder, likelihood, first_stage)


def build_likelihood(config: TrialConfig, summary: DataSummary) -> Likelihood:
    """The likelihood that a trial names.

    Raises:
        UserError: `likelihood` is neither in `LIKELIHOODS` nor a component of the space.
    """
    return config.build("likelihood", LIKELIHOODS, summary)


def build_schedule(config: TrialConfig) -> Schedule:
    """The schedule that a trial names.

    Raises:
        UserError: `annealing` is neither in `SCHEDULES` nor a component of the space.
    """
    found = {**SCHEDULES, **config.components.of_kind("annealing")}.get(config.annealing)
    if found is not None and issubclass(found, Schedule):
        return config.build("annealing", SCHEDULES, config.annealing_fraction)
    return Shape(config.build("annealing", SCHEDULES), config.annealing_fraction)


def build_regularizer(config: TrialConfig) -> Regularizer:
    """The regularizer that a trial names.

    Raises:
        UserError: `regularizer` is neither in `REGULARIZERS` nor a component of the space, or encoder or kernel do not
            suit it.
    """
    regularizer = config.build("regularizer", REGULARIZERS, config)
    if regularizer.methods and config.encoder not in regularizer.methods:
        raise UserError(f"regularizer={config.regularizer} needs encoder={' or '.join(regularizer.methods)}")
    if regularizer.uses_kernel and config.kernel not in KERNELS:
        raise UserError(f"kernel={config.kernel!r}: regularizer {config.regularizer} needs {' or '.join(KERNELS)}")
    return regularizer
