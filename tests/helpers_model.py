"""Writes a finished study with real models, quickly and without Ray."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch

from study.config import DataSummary, TrialConfig
from study.model.autoencoder import Autoencoder
from study.model.building import build_autoencoder
from study.priors.choosing import fit_prior
from study.training import checkpoint
from tests.helpers_study import study_record, write_trial

EPOCHS = 2
ERRORS, FIDS = (0.01, 0.012, 0.05), (40.0, 10.0, 9.0)
"""Objectives of three trials. All are on the front, and the second is its knee by any definition."""


def made_model(config: TrialConfig, summary: DataSummary) -> Autoencoder:
    """A model whose parameters and statistics have all changed, as if it was trained."""
    torch.manual_seed(config.seed)
    model = build_autoencoder(config, summary)
    if model.first_stage:
        model.first_stage.scale.fill_(1.0)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand_like(tensor))
    codes = torch.randn(400, config.latent_dim, generator=torch.Generator().manual_seed(config.seed))
    model.prior = fit_prior(torch.where(codes > 0, codes + 2, codes) if config.seed % 2 else codes)  # a mixture, or not
    return model.eval()


def weights_of(model: Autoencoder) -> dict[str, torch.Tensor]:
    """What a training's checkpoint holds of a model: all but the prior that was fitted afterwards."""
    return {name: value for name, value in model.state_dict().items() if not name.startswith("prior.")}


def write_study(directory: Path, summary: DataSummary, models: dict[int, Autoencoder]) -> Path:
    """Writes a completed study with these trials, at most three."""
    directory.mkdir(parents=True)
    record = study_record(directory.name, data=dataclasses.asdict(summary), epochs=EPOCHS, num_trials=len(models))
    (directory / "study.json").write_text(json.dumps(record))
    for number, model in models.items():
        rows = [
            {
                "epoch": epoch,
                "time": 1.79e9 + epoch,
                "seconds": 0.1,
                "train/weight": model.config.weight,
                "val/reconstruction_mse": ERRORS[number],
                "val/sample_fid": FIDS[number],
            }
            for epoch in range(1, EPOCHS + 1)
        ]
        folder = write_trial(directory, number, model.config, rows)
        state = {"config": model.config.to_params(), "epoch": EPOCHS, "model": weights_of(model)}
        if model.prior is not None:
            state["prior"] = model.prior.record()
        checkpoint.save(folder / "attempt-1", EPOCHS, state)
    return directory
