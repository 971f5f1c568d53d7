"""Builds the models of a study's first trials before it has a folder, so that mistakes are told at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from study.config import DataSummary, TrialConfig
from study.errors import UserError, located
from study.model.autoencoder import Autoencoder, build_autoencoder
from study.model.regularizers import build_regularizer
from study.model.schedules import build_schedule
from study.space import SearchSpace


def build_models(configs: list[Mapping[str, Any]], summary: DataSummary, space: SearchSpace) -> None:
    """Builds model, regularizer and schedule of each trial, without memory for their weights.

    Raises:
        UserError: A trial names something unknown, or its parts do not fit together.
    """
    for number, params in enumerate(configs):
        config = TrialConfig.from_params({key: value for key, value in params.items() if key != "origin"}, space.own)
        try:
            with torch.device("meta"):
                model = build_autoencoder(config, summary)
                build_regularizer(config)
                if space.components:
                    _try_out(model)
            build_schedule(config)
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


def _try_out(model: Autoencoder) -> None:
    """Sends two images through a model without weights. A network of the user's own may return other shapes.

    Raises:
        UserError: It does.
    """
    if model.first_stage is not None:
        return
    size, config = model.summary, model.config
    x = torch.zeros(2, *size.shape)
    outputs, wanted = model.encoder(x), (2, config.latent_dim * (2 if config.encoder == "gaussian" else 1))
    if tuple(outputs.shape) != wanted:
        raise UserError(
            f"network={config.network}: its encoder returns {list(outputs.shape)} for {list(x.shape)}, "
            f"not {list(wanted)}: [B, encoder_outputs]"
        )
    raw = model.decoder(torch.zeros(2, config.latent_dim))
    maps = (2, size.channels * model.likelihood.maps, size.height, size.width)
    if tuple(raw.shape) != maps:
        raise UserError(
            f"network={config.network}: its decoder returns {list(raw.shape)} for {[2, config.latent_dim]}, "
            f"not {list(maps)}: [B, decoder_channels, H, W]"
        )
