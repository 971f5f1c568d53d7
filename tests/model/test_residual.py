"""The residual networks: their layers, the order of a code's units, and the sizes they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from study.config import TrialConfig, UserError
from study.model.autoencoder import Autoencoder
from study.model.building import NETWORKS, build_autoencoder
from study.model.networks.residual import ResidualBlock, group_norm
from tests.helpers import made_summary, units

DOWNSAMPLING = {name: network.downsampling for name, network in NETWORKS.items() if network.downsampling}


def _model(network: str, encoder: str = "deterministic", height: int = 32, width: int = 32) -> Autoencoder:
    torch.manual_seed(0)
    summary = made_summary(3, height, width)
    config = TrialConfig(network=network, latent_dim=units(network, summary, 5), width=16, encoder=encoder)
    return build_autoencoder(config, summary).eval()


def _kernels(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in module.parameters() if p.ndim == 4]


def test_the_networks_with_maps_are_those_of_the_table() -> None:
    assert set(DOWNSAMPLING) == {name for name in NETWORKS if name.startswith("residual")}


@pytest.mark.parametrize(("network", "channels"), [("residual_f4", [16, 32]), ("residual_f8", [16, 32, 64])])
def test_residual_network_halves_the_image_and_doubles_the_channels(network: str, channels: list[int]) -> None:
    model = _model(network, "gaussian")
    down, last = [], 3
    for width in channels:
        down += [(width, last, 4, 4), (width, width, 3, 3), (width, width, 3, 3)]
        last = width
    assert _kernels(model.encoder) == [*down, (10, last, 3, 3)]  # the means' and the log variances' 5 channels
    up = [(last, 5, 3, 3)]
    for width, outputs in zip(channels[::-1], [*channels[-2::-1], 3], strict=True):
        up += [(width, width, 3, 3), (width, width, 3, 3), (width, outputs, 4, 4)]  # the last one is transposed
    assert _kernels(model.decoder) == up


@pytest.mark.parametrize(
    ("network", "height", "width", "expected"),
    [
        ("residual_f4", 32, 32, (5, 8, 8)),
        ("residual_f8", 32, 32, (5, 4, 4)),
        ("residual_f4", 28, 28, (5, 7, 7)),
        ("residual_f8", 28, 28, (5, 4, 4)),
        ("residual_f4", 13, 21, (5, 4, 6)),
        ("residual_f8", 8, 8, (5, 1, 1)),
        ("mlp", 32, 32, None),
    ],
)
def test_a_code_is_a_map_in_the_order_that_code_map_says(
    network: str, height: int, width: int, expected: tuple[int, int, int] | None
) -> None:
    model = _model(network, "gaussian", height, width)
    assert model.code_map == expected
    posterior = model.encode(torch.rand(2, 3, height, width))
    if expected is not None:
        assert posterior.mu.unflatten(1, expected).shape == (2, *expected)
        head = [module for module in model.encoder.modules() if isinstance(module, nn.Conv2d)][-1]
        with torch.no_grad():
            head.weight.zero_()
            assert head.bias is not None
            head.bias.copy_(torch.arange(10.0))
        posterior = model.encode(torch.rand(2, 3, height, width))
        rows = torch.arange(5.0)[:, None, None].expand(expected)
        assert torch.equal(posterior.mu[0].unflatten(0, expected), rows)  # no channel of the log variance among them


@pytest.mark.parametrize("network", DOWNSAMPLING)
def test_a_place_in_the_map_stands_for_a_place_in_the_image(network: str) -> None:
    model, factor = _model(network), DOWNSAMPLING[network]

    def strongest(change: Tensor) -> tuple[int, ...]:
        total = change.abs().sum(dim=(0, 1))
        return tuple(int(i) for i in torch.unravel_index(total.argmax(), total.shape))

    x = torch.rand(1, 3, 32, 32)
    dotted = x.clone()
    dotted[:, :, factor : 2 * factor, 2 * factor : 3 * factor] += 2
    assert model.code_map is not None
    change = (model.encode(dotted).mu - model.encode(x).mu).unflatten(1, model.code_map)
    assert strongest(change) == (1, 2)
    z = model.encode(x).mu
    moved = z.unflatten(1, model.code_map).clone()
    moved[:, :, 1, 2] += 3
    row, column = strongest(model.decoder(moved.flatten(1)) - model.decoder(z))
    assert abs(row - 1.5 * factor) <= factor and abs(column - 2.5 * factor) <= factor


@pytest.mark.parametrize("channels", [1, 3, 8, 16, 24, 32, 40, 56, 128])
def test_groups_hold_enough_channels_for_a_map_of_one_pixel(channels: int) -> None:
    norm = group_norm(channels)
    assert channels % norm.num_groups == 0
    assert channels // norm.num_groups >= min(channels, 16)


def test_residual_block_adds_to_what_it_is_given() -> None:
    block, x = ResidualBlock(8), torch.randn(2, 8, 4, 4)
    assert not torch.allclose(block(x), x)
    for parameter in list(block.parameters())[-2:]:
        nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("network", "height", "latent_dim", "advice"),
    [
        ("residual_f4", 32, 100, "a multiple of 64 for images of 32x32, the nearest is 64 or 128"),
        ("residual_f4", 28, 8, "a multiple of 49 for images of 28x28, the nearest is 49"),
        ("residual_f8", 32, 33, "a multiple of 16 for images of 32x32, the nearest is 32 or 48"),
    ],
)
def test_a_size_that_makes_no_whole_map_is_refused_with_the_nearest_ones(
    network: str, height: int, latent_dim: int, advice: str
) -> None:
    config = TrialConfig(network=network, latent_dim=latent_dim)
    with pytest.raises(UserError, match=f"latent_dim={latent_dim}.*{advice}$"):
        build_autoencoder(config, made_summary(3, height, height))
