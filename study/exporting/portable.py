"""An autoencoder that has left its study: this file needs torch and safetensors, and nothing else.

from model import load

model = load()                          # model.safetensors and config.json lie beside this file
model.sample(16)                        # images [16, C, H, W] in [0, 1] of codes drawn from N(0, I)
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

from study.config import DataSummary, TrialConfig
from study.model.autoencoder import Autoencoder, build_autoencoder


def load(directory: str | Path | None = None, device: str | torch.device = "cpu") -> Autoencoder:
    """The trained autoencoder, in evaluation mode.

    Args:
        directory: Where `config.json` and `model.safetensors` lie; beside this file by default.
        device: Where its tensors go.

    Raises:
        OSError: A file is missing.
        RuntimeError: Weights and config do not belong together.
    """
    folder = Path(__file__).parent if directory is None else Path(directory)
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config, summary = TrialConfig.from_params(content["params"]), DataSummary(**content["data"])
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten, and no concern of the caller's
        model = build_autoencoder(config, summary)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.to(device).eval()
