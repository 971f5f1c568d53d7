"""A trained autoencoder, exported from its study. This file needs only torch and safetensors.

from model import load

model = load()                          # reads model.safetensors and config.json beside this file
model.sample(16, prior="normal")        # images [16, C, H, W] in [0, 1] of codes drawn from N(0, I)
model.sample(16, prior="fitted")        # of codes drawn from the prior that was fitted to the codes after training
model.sample(16)                        # from the fitted prior if the method does not shape codes for N(0, I)
model.reconstruct(x)                    # of images [B, C, H, W] in [0, 1]
model.encode(x)                         # Posterior(mu [B, d], logvar [B, d] or None)
model.decode(z)                         # of codes [B, d]
model.interpolate(x_a, x_b, steps=8)    # [8, B, C, H, W]
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from study.components import NO_COMPONENTS
from study.config import DataSummary, TrialConfig
from study.model.autoencoder import Autoencoder
from study.model.building import build_autoencoder
from study.priors.fitted import described

OWN_COMPONENTS = NO_COMPONENTS
"""What the study brought of its own."""


def load(directory: str | Path | None = None, device: str | torch.device = "cpu") -> Autoencoder:
    """The trained autoencoder, in evaluation mode.

    Args:
        directory: The folder of `config.json` and `model.safetensors`; by default this file's own.
        device: Where to put the model.

    Raises:
        OSError: A file is missing.
        RuntimeError: The weights do not fit the config.
    """
    folder = Path(__file__).parent if directory is None else Path(directory)
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config, summary = TrialConfig.from_params(content["params"], OWN_COMPONENTS), DataSummary(**content["data"])
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten at once
        model = build_autoencoder(config, summary)
    if content["prior"] is not None:
        model.prior = described(**content["prior"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.to(device).eval()
