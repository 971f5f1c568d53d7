"""Two processes that share every batch come to what one process comes to."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn as nn
from torch import Tensor

from study.components import Components
from study.config import TrialConfig
from study.data.datasets import ImageData
from study.model.autoencoder import Autoencoder, Posterior
from study.model.regularizers.base import Regularizer, draw_prior
from study.training.follower import meet, part
from study.training.loop import Trainer
from study.training.split import WholeBatchNorm, know_whole_batches, row_counts
from study.training.team import ALONE, Team
from tests.helpers import small


class Recoding(Regularizer):
    """Calls both networks itself, in training mode, where they normalise batches."""

    name: ClassVar[str] = "recoding"
    methods: ClassVar[dict[str, str]] = {"deterministic": "AE-recoding"}

    def forward(self, model: Autoencoder, posterior: Posterior, z: Tensor, generator: torch.Generator | None) -> Tensor:
        codes = draw_prior(z, generator)
        return (model.encoder(model.decoder(codes)) - codes).square().mean()


METHODS: dict[str, dict[str, Any]] = {
    "AE": {"regularizer": "none", "weight": 0.0},
    "RAE-L2": {"regularizer": "rae_l2", "weight": 1.0, "rae_l2.decoder_decay": 0.1},
    "VAE": {"encoder": "gaussian", "regularizer": "kl"},
    "VAE gaussian_scalar": {"encoder": "gaussian", "regularizer": "kl", "likelihood": "gaussian_scalar"},
    "VAE gaussian_pixel": {"encoder": "gaussian", "regularizer": "kl", "likelihood": "gaussian_pixel"},
    "WAE-MMD": {"regularizer": "mmd", "kernel": "imq"},
    # With seed 0 a unit of the critic that had been dead gets a first gradient, near 0, of which Adam makes a whole
    # step: then one process alone differs by 6e-4 if its weights are changed by 1e-7.
    "WAE-GAN": {"regularizer": "adversarial", "seed": 1},
    "SWAE": {"regularizer": "sliced_wasserstein"},
}
NETWORKS = {"mlp": 3, "conv": 3, "residual_f4": 12}
CASES: dict[str, dict[str, Any]] = {
    **{f"{method} {network}": {**params, "network": network, "latent_dim": units}
       for method, params in METHODS.items() for network, units in NETWORKS.items()},
    "batch normalisation": {"network": "deep", "regularizer": "mmd", "kernel": "rbf"},
    "batch normalisation, VAE": {"network": "deep", "encoder": "gaussian", "regularizer": "kl"},
    "own penalty": {"network": "deep", "regularizer": "recoding"},
    "requested error": {"network": "deep", "encoder": "gaussian", "regularizer": "kl", "target_error": 0.03},
    "observing schedule": {**METHODS["WAE-MMD"], "annealing": "quality_gated", "annealing_fraction": 0.5},
    "decay and falling rate": {"regularizer": "none", "weight_decay": 0.1, "learning_rate_schedule": "cosine"},
}  # fmt: skip
BATCH = 33  # the processes take 17 and 16
BITS = "bits"
IN_BF16 = {"network": "conv", "precision": "bf16"}


def _config(params: dict[str, Any]) -> TrialConfig:
    base = {"width": 16, "latent_dim": 3, "epochs": 3, "weight": 0.1, "learning_rate": 1e-3, "batch_size": BATCH}
    return TrialConfig.from_params({**base, **params}, Components((Recoding,)))


def _trained(params: dict[str, Any], data: ImageData, team: Team) -> tuple[list[dict[str, float]], dict[str, Any]]:
    trainer = Trainer(_config(params), data, team=team)
    means = [trainer.train_epoch() for _ in range(3)]
    return means, {"model": trainer.model.state_dict(), "critic": trainer.regularizer.state_dict()}


def _train_all(rank: int, meeting: Path, data: ImageData) -> dict[str, Any]:
    torch.set_num_threads(1)
    meet(rank, ["cpu", "cpu"], meeting)
    found = {name: _trained(params, data, Team(rank, 2)) for name, params in CASES.items()}
    found[BITS] = _trained(IN_BF16, data, Team(rank, 2))
    part(failed=False)
    return found


@pytest.fixture(scope="module")
def data(digits: ImageData) -> ImageData:
    return small(digits, 100)


@pytest.fixture(scope="module")
def shared(data: ImageData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes come to. They are started once, because that takes seconds."""
    arguments = (tmp_path_factory.mktemp("meeting") / "file", data)
    other = multiprocessing.get_context("spawn").Process(target=_train_all, args=(1, *arguments), daemon=True)
    other.start()
    found = _train_all(0, *arguments)
    other.join()
    assert other.exitcode == 0
    return found


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_like_one(shared: dict[str, Any], data: ImageData, case: str) -> None:
    means, state = _trained(CASES[case], data, ALONE)
    found, weights = shared[case]
    for epoch, expected in zip(found, means, strict=True):
        assert epoch == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert weights["model"].keys() == state["model"].keys()
    torch.testing.assert_close(weights, state, rtol=1e-5, atol=1e-5)


def test_bf16_rounds_alike_whatever_rows_a_process_has(shared: dict[str, Any], data: ImageData) -> None:
    means, _ = _trained(IN_BF16, data, ALONE)
    for epoch, expected in zip(shared[BITS][0], means, strict=True):
        assert epoch["loss"] == pytest.approx(expected["loss"], rel=0.01)


@pytest.mark.parametrize(("rows", "processes", "counts"), [(7, 3, [3, 2, 2]), (4, 2, [2, 2]), (2, 2, [1, 1])])
def test_rows_are_shared_as_evenly_as_possible(rows: int, processes: int, counts: list[int]) -> None:
    assert row_counts(rows, processes) == counts


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_normalisation_that_is_not_split_is_torchs(momentum: float | None) -> None:
    torch.manual_seed(0)
    network, twin = (nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=momentum)) for _ in range(2))
    twin.load_state_dict(network.state_dict())
    parameters = {name: id(value) for name, value in network.named_parameters()}
    know_whole_batches(network)
    assert isinstance(network[1], WholeBatchNorm)
    assert {name: id(value) for name, value in network.named_parameters()} == parameters
    for training in (True, False):
        x = torch.randn(5, 2, 6, 6)
        assert torch.equal(network.train(training)(x), twin.train(training)(x))
    assert network.state_dict().keys() == twin.state_dict().keys()
    torch.testing.assert_close(network.state_dict(), twin.state_dict(), rtol=0, atol=0)
