"""Loads the trained model of a finished trial from its last checkpoint."""

from __future__ import annotations

import shlex

from study.config import TrialConfig, UserError
from study.disk.code import own_components
from study.model.autoencoder import Autoencoder
from study.model.building import build_autoencoder
from study.priors.fitted import from_record
from study.results.selection import Selection
from study.training import checkpoint


def load_model(selection: Selection) -> Autoencoder:
    """The model after the trial's last epoch, on the CPU, in evaluation mode.

    Raises:
        UserError: The trial was not fully trained, or its last checkpoint is missing or damaged.
    """
    own = own_components(selection.study, selection.directory)
    config = TrialConfig.from_params(selection.config.to_params(), own)
    if selection.outcome != "completed":
        raise UserError(f"trial {selection.number} is {selection.outcome}: choose one that was trained to its end")
    state, complaints = checkpoint.newest(selection.trial_directory)
    if state is None or state["epoch"] != config.epochs:
        why = "; ".join(complaints) or f"there is none in {selection.trial_directory}"
        options = ["--study", selection.study.name, "--runs-dir", str(selection.directory.parent)]
        options += ["--trial", str(selection.number), "--epochs", str(config.epochs + 1)]
        again = shlex.join(["python", "-m", "study.retrain", *options])
        raise UserError(
            f"the last checkpoint of trial {selection.number} cannot be read ({why}): train its configuration for an "
            f"epoch more, as another trial: {again}"
        )
    if TrialConfig.from_params(state["config"], config.components) != config:
        raise UserError(f"the last checkpoint of trial {selection.number} belongs to another configuration")
    model = build_autoencoder(config, selection.study.data)
    model.load_state_dict(state["model"])
    if (prior := state.get("prior")) is not None:  # version 0.1 fitted none
        model.prior = from_record(prior, own.of_kind("prior"))
    return model.eval()
