"""Every network: shapes over sizes and channels, padding, and gradients that reach every parameter."""

from __future__ import annotations

import pytest
import torch

from study.config import TrialConfig, UserError
from study.model.building import NETWORKS, build_autoencoder
from study.model.layers import latent_critic
from study.model.networks.deep import Deep
from study.model.sizes import NetworkSize
from tests.helpers import made_summary, units

WIDTHS = {"mlp": 16, "conv": 4, "deep": 4}
SIZES = [(8, 8), (28, 28), (32, 32), (64, 64), (13, 21), (1, 5)]


def _size(channels: int, height: int, width: int, hidden: int = 4, latent_dim: int = 3) -> NetworkSize:
    return NetworkSize(
        channels=channels,
        height=height,
        width=width,
        latent_dim=latent_dim,
        encoder_outputs=2 * latent_dim,
        decoder_channels=2 * channels,
        hidden=hidden,
    )


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_network_shapes(name: str, channels: int, height: int, width: int) -> None:
    d = units(name, made_summary(channels, height, width))
    encoder, decoder = NETWORKS[name]().build(_size(channels, height, width, WIDTHS.get(name, 4), d))
    assert encoder(torch.rand(2, channels, height, width)).shape == (2, 2 * d)
    assert decoder(torch.randn(2, d)).shape == (2, 2 * channels, height, width)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_output_depends_on_every_parameter_and_pixel(name: str) -> None:
    torch.manual_seed(0)
    d = units(name, made_summary(1, 12, 12))
    encoder, decoder = NETWORKS[name]().build(_size(1, 12, 12, 8, d))
    x = torch.rand(4, 1, 12, 12, requires_grad=True)
    decoder(encoder(x)[:, :d]).square().sum().backward()
    assert x.grad is not None and (x.grad.abs().sum(dim=0) > 0).all()
    unused = [name for module in (encoder, decoder) for name, p in module.named_parameters() if p.grad is None]
    assert not unused


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("encoder", ["deterministic", "gaussian"])
@pytest.mark.parametrize("channels", [1, 3])
def test_network_makes_an_autoencoder(name: str, encoder: str, channels: int) -> None:
    summary = made_summary(channels, 28, 28)
    config = TrialConfig(network=name, width=8, latent_dim=units(name, summary), encoder=encoder)
    model = build_autoencoder(config, summary).eval()
    if model.first_stage:
        model.first_stage.scale.fill_(1)
    x = torch.rand(2, channels, 28, 28)
    posterior = model.encode(x)
    assert posterior.mu.shape == (2, config.latent_dim)
    assert (posterior.logvar is None) == (encoder == "deterministic")
    assert model.reconstruct(x).shape == x.shape


def test_named_networks_have_the_published_layers() -> None:
    encoder, decoder = NETWORKS["mlp_500"]().build(_size(1, 28, 28))
    assert [tuple(p.shape) for p in encoder.parameters() if p.ndim == 2] == [(500, 784), (500, 500), (6, 500)]
    assert [tuple(p.shape) for p in decoder.parameters() if p.ndim == 2] == [(500, 3), (2 * 784, 500)]
    encoder, decoder = NETWORKS["conv_64"]().build(_size(1, 28, 28))
    assert [tuple(p.shape) for p in encoder.parameters() if p.ndim > 1] == [
        (64, 1, 4, 4),
        (64, 64, 4, 4),
        (256, 64 * 7 * 7),
        (6, 256),
    ]
    assert [tuple(p.shape) for p in decoder.parameters() if p.ndim == 4] == [(64, 64, 4, 4), (64, 2, 4, 4)]


def test_deep_network_at_256_has_the_published_channels() -> None:
    with torch.device("meta"):
        encoder, decoder = Deep().build(_size(3, 256, 256, hidden=8))
    down = [tuple(p.shape[:2]) for p in encoder.parameters() if p.ndim == 4]
    assert down[::2] == [(8, 3), (16, 8), (32, 16), (64, 32), (128, 64), (256, 128)]
    up = [tuple(p.shape[:2]) for p in decoder.parameters() if p.ndim == 4]
    assert up[1::2] == [(128, 256), (64, 128), (32, 64), (16, 32), (16, 16), (6, 16)]
    assert encoder(torch.rand(2, 3, 256, 256, device="meta")).shape == (2, 6)


def test_deep_network_refuses_images_above_256() -> None:
    with pytest.raises(UserError, match="256x256 at most"):
        Deep().build(_size(3, 257, 20))


def test_network_padding_is_black_and_centred() -> None:
    encoder, decoder = NETWORKS["conv_64"]().build(_size(1, 9, 10))
    padded = next(encoder.children())(torch.ones(1, 1, 9, 10))
    assert padded.shape == (1, 1, 12, 12)
    assert padded.sum() == 90 and padded[0, 0, 1:10, 1:11].sum() == 90
    cropped = list(decoder.children())[-1](padded)
    assert torch.equal(cropped, torch.ones(1, 1, 9, 10))


def test_unknown_network_lists_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"choose from conv, .*deep"):
        build_autoencoder(TrialConfig(network="no such"), made_summary())


def test_critic_network_gives_one_logit() -> None:
    assert latent_critic(5, 16)(torch.randn(7, 5)).shape == (7, 1)
