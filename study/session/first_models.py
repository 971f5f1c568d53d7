"""Builds the models of a study's first trials before it has a folder, so that mistakes are told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from study.built_in import BUILT_IN
from study.components import FIELDS, Components
from study.config import DataSummary, TrialConfig
from study.data.datasets import DATASETS
from study.errors import UserError, located
from study.measure.instrument import FAMILIES
from study.measure.metrics import METRICS
from study.measure.own_networks import PRETRAINED
from study.model.autoencoder import Autoencoder
from study.model.building import build_autoencoder, build_regularizer, build_schedule
from study.model.learning_rate import rate_schedule
from study.model.loss import compute_loss
from study.model.regularizers.base import CriticRegularizer, Regularizer
from study.priors.fitted import DENSITIES
from study.priors.own import own_prior
from study.space import SearchSpace

_BUILT_IN = {
    **{kind: BUILT_IN.of_kind(kind) for kind in FIELDS},
    "prior": DENSITIES,
    "metric": METRICS,
    "dataset": DATASETS,
    "feature_network": {**FAMILIES, **PRETRAINED},
    "figure": {},
}
_IMAGES, _CODES = 4, 400


def build_models(configs: list[Mapping[str, Any]], summary: DataSummary, space: SearchSpace) -> None:
    """Builds model, regularizer and schedule of each trial, without memory for their weights.

    If the space brings parts of its own, one trial of each combination also takes a step, on random images. Its own
    densities are fitted to random codes.

    Raises:
        UserError: A trial names something unknown, its parts do not fit together, or code of the space's own fails.
    """
    _check_names(space.own)
    tried: set[tuple[str, ...]] = set()
    for number, params in enumerate(configs):
        config = TrialConfig.from_params({key: value for key, value in params.items() if key != "origin"}, space.own)
        names = ("network", "encoder", "regularizer", "likelihood", "annealing", "precision")
        parts = tuple(getattr(config, name) for name in names)
        try:
            if space.components and parts not in tried:
                tried.add(parts)
                with torch.random.fork_rng():
                    torch.manual_seed(config.seed)
                    _take_step(config, summary)
            with torch.device("meta"):
                model = build_autoencoder(config, summary)
                build_regularizer(config)
            build_schedule(config)
            rate_schedule(config)
            needs = ("kl", "distortion", "elbo", "nll") if config.encoder == "deterministic" else ()
            needs = needs or (() if model.has_density else ("elbo", "nll"))
            if lacking := [name for name in space.objectives if name in needs]:
                raise UserError(
                    f"objectives={lacking[0]!r}: a trial of {config.method} with likelihood {config.likelihood} has "
                    "none; leave such trials out, or trade off another metric"
                )
        except UserError as error:
            raise UserError(f"{space.place(str(error))}trial {number}: {error}") from None
        except Exception as error:  # of a component of the user's own, or sizes that torch cannot count
            place = located(error) or f"{space.place(str(error))}trial {number}: its model cannot be built: {error}"
            raise UserError(place) from error
    _check_priors(space.own, {int(params["latent_dim"]) for params in configs})


def _check_priors(own: Components, sizes: Iterable[int]) -> None:
    """Fits the space's own densities to random codes of some of these latent sizes.

    Raises:
        UserError: One fails with every size; those that it can fit are its own business.
    """
    for name, density in own.of_kind("prior").items():
        failed: UserError | None = None
        for size in sorted(sizes):
            generator = torch.Generator().manual_seed(size)
            codes = torch.randn(_CODES, size, generator=generator, dtype=torch.float64)
            try:
                own_prior(density, torch.zeros(size), torch.eye(size), codes[_CODES // 10 :], codes[: _CODES // 10], 0)
                break
            except UserError as error:
                failed = failed or error
        else:
            if failed is not None:
                raise UserError(f"prior {name}: {failed}") from failed


def _check_names(own: Components) -> None:
    taken = {name: kind for kind, names in _BUILT_IN.items() for name in names if kind in FIELDS}
    for item in own.items:
        kind = item.kind if item.name in _BUILT_IN.get(item.kind, ()) else taken.get(item.name)
        if kind is not None and (item.kind in FIELDS or kind == item.kind):
            raise UserError(f"components: there is a built-in {kind} {item.name!r}; give yours another name")


def _take_step(config: TrialConfig, summary: DataSummary) -> None:
    """Sends random images through a trial's parts, forward and back.

    Raises:
        UserError: A network returns other shapes than it should, or a schedule what is no multiplier.
    """
    share = build_schedule(config).multiplier(0.5 * config.annealing_fraction)
    if not 0 <= share <= 1:
        raise UserError(f"annealing={config.annealing}: it gives {share}, not a multiplier in [0, 1]")
    if config.reads_codes or config.perceptual_weight:
        return  # they need what is trained beforehand
    model, regularizer = build_autoencoder(config, summary), build_regularizer(config)
    x = torch.rand(_IMAGES, *summary.shape)
    _check_shapes(model, x)
    terms = compute_loss(model, regularizer, x, config.weight, None, None)
    _check_scalar(config, regularizer, terms.penalty)
    terms.loss.backward()
    if isinstance(regularizer, CriticRegularizer):
        regularizer.critic_loss(terms.codes, None).backward()


def _check_shapes(model: Autoencoder, x: torch.Tensor) -> None:
    summary, config = model.summary, model.config
    outputs = model.encoder(x)
    wanted = [len(x), config.latent_dim * (2 if config.encoder == "gaussian" else 1)]
    if list(outputs.shape) != wanted:
        raise UserError(
            f"network={config.network}: its encoder returns {list(outputs.shape)} for {list(x.shape)}, "
            f"not {wanted}: [B, encoder_outputs]"
        )
    codes = torch.zeros(len(x), config.latent_dim)
    raw, maps = model.decoder(codes), [len(x), summary.channels * model.likelihood.maps, summary.height, summary.width]
    if list(raw.shape) != maps:
        raise UserError(
            f"network={config.network}: its decoder returns {list(raw.shape)} for {list(codes.shape)}, "
            f"not {maps}: [B, decoder_channels, H, W]"
        )


def _check_scalar(config: TrialConfig, regularizer: Regularizer, penalty: torch.Tensor) -> None:
    if penalty.numel() != 1:
        raise UserError(
            f"regularizer={config.regularizer}: it returns {list(penalty.shape)} for a batch, not one number: take the "
            "mean over the batch"
        )
