"""pythae's trainer on our networks, data and batch size; install it with the extra `peers`.

Its models keep their own losses: AE and VAE are like ours, and WAE-MMD has the same seven kernels. An epoch is its
trainer's `train_step`, without the copy of the best model that normally follows.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable

import pythae.models as models  # type: ignore[import-not-found]  # an extra
import torch
from pythae.data.datasets import BaseDataset  # type: ignore[import-not-found]
from pythae.models.base.base_utils import ModelOutput  # type: ignore[import-not-found]
from pythae.models.nn import BaseDecoder, BaseEncoder  # type: ignore[import-not-found]
from pythae.trainers import BaseTrainer, BaseTrainerConfig  # type: ignore[import-not-found]
from torch import Tensor, nn

from study.config import TrialConfig
from study.data.datasets import ImageData
from study.model.building import build_autoencoder

MODELS = {
    "AE": (models.AE, models.AEConfig),
    "VAE": (models.VAE, models.VAEConfig),
    "WAE-MMD": (models.WAE_MMD, models.WAE_MMD_Config),
}


class _Encoder(BaseEncoder):  # type: ignore[misc]
    def __init__(self, network: nn.Module, gaussian: bool) -> None:
        super().__init__()
        self.network = network
        self.gaussian = gaussian

    def forward(self, x: Tensor) -> ModelOutput:
        outputs = self.network(x)
        if not self.gaussian:
            return ModelOutput(embedding=outputs)
        mu, logvar = outputs.chunk(2, dim=1)
        return ModelOutput(embedding=mu, log_covariance=logvar)


class _Decoder(BaseDecoder):  # type: ignore[misc]
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z))


def pythae_epoch(config: TrialConfig, data: ImageData, codes: Tensor | None = None) -> Callable[[], None]:
    """One epoch of pythae's trainer.

    Args:
        config: The trial; its method is one of `MODELS`.
        data: The data set.
        codes: With `network=stacked`, the encoder's input in place of images.
    """
    logging.disable(logging.WARNING)  # it prints settings and losses
    torch.manual_seed(config.seed)
    network = build_autoencoder(config, data.summary)
    inputs = data.train.images.float() / 255 if codes is None else codes
    model_class, config_class = MODELS[config.method]
    settings = {"reg_weight": config.weight} if config.method == "WAE-MMD" else {}
    model = model_class(
        config_class(input_dim=tuple(inputs.shape[1:]), latent_dim=config.latent_dim, **settings),
        encoder=_Encoder(network.encoder, config.encoder == "gaussian"),
        decoder=_Decoder(network.decoder),
    )
    scratch = tempfile.TemporaryDirectory()
    trainer = BaseTrainer(
        model,
        BaseDataset(inputs, data.train.labels),
        training_config=BaseTrainerConfig(
            output_dir=scratch.name,
            per_device_train_batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            no_cuda=True,
        ),
    )
    with scratch:
        trainer.prepare_training()

    def epoch() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            trainer.train_step(1)

    return epoch
