"""Writes a trained model into a folder of its own, and logs that folder on the trial's MLflow run."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import UserError
from study.disk.code import carried_path
from study.disk.files import write_atomic
from study.exporting.model_source import builds_own, imported_model, model_source
from study.results.selection import Selection
from study.tracking import redact, sync_study
from study.tracking.store import connect, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from study.model.autoencoder import Autoencoder

FORMAT = 1
FILES = ("model.py", "model.safetensors", "config.json")
_REQUIREMENTS = ("mlflow", "numpy", "torch", "safetensors")


def export_model(selection: Selection, model: Autoencoder, directory: Path) -> None:
    """Writes `model.safetensors`, `config.json`, and a `model.py` that loads them without this project.

    Args:
        selection: The trial.
        model: Its trained model.
        directory: Created if it is missing. Files with the same names are replaced.

    Raises:
        OSError: The folder cannot be written.
        UserError: A component of the space's own is written in a way that no one file can hold.
    """
    import safetensors.torch

    config = {
        "format": FORMAT,
        "study": {name: getattr(selection.study, name) for name in ("name", "id", "space", "git_commit")},
        "trial": selection.number,
        "params": selection.config.to_params(),
        "data": dataclasses.asdict(selection.study.data),
        "metrics": selection.metrics,
        "prior": None if model.prior is None else model.prior.description,
    }
    density = None if model.prior is None or model.prior.density is None else model.prior.density.name
    source = model_source(model.config, carried_path(selection.study, selection.directory), density)
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    contents = (
        source.encode(),
        safetensors.torch.save(weights),
        json.dumps(config, indent=2, ensure_ascii=False).encode(),
    )
    for name, content in zip(FILES, contents, strict=True):
        write_atomic(directory / name, content)
    if builds_own(model.config) or density in model.config.components.of_kind("prior"):
        _check_loads(directory)


def _check_loads(directory: Path) -> None:
    """Loads an exported model once: a user's own code may need what one file does not hold.

    Raises:
        UserError: It does not load.
    """
    path = directory / FILES[0]
    try:
        with imported_model(path) as module:
            module.load(directory)
    except Exception as error:
        raise UserError(f"{path} does not load: {type(error).__name__}: {error}: change that code") from error


def log_model(selection: Selection, model: Autoencoder, directory: Path, tracking_uri: str) -> str:
    """Logs an exported folder on its trial's MLflow run, as a pyfunc from code. Further calls log nothing new.

    The study is first brought up to date in the store, so that the run exists.

    Args:
        selection: The trial.
        model: Its trained model, which generates the input example.
        directory: What `export_model` wrote.
        tracking_uri: The store.

    Returns:
        The model's URI, for `mlflow.pyfunc.load_model`.

    Raises:
        UserError: The store cannot be written, or the study is running.
    """
    report = sync_study(selection.directory, tracking_uri)
    try:
        return _log(selection, model, directory, connect(tracking_uri), tracking_uri, report.experiment_id)
    except Exception as error:  # MLflow, its database and its server may raise anything
        raise UserError(f"MLflow at {redact(tracking_uri)} cannot be written: {one_line(error)}") from error


def _log(
    selection: Selection, model: Autoencoder, directory: Path, client: MlflowClient, uri: str, experiment_id: str
) -> str:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    import numpy as np
    import torch
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    condition = f"tags.`study.id` = '{selection.study.id}' and tags.`trial.number` = '{selection.number}'"
    run = client.search_runs([experiment_id], condition)[0]
    files = {name: str(directory.absolute() / name) for name in FILES}
    digest = hashlib.sha256(b"".join(Path(path).read_bytes() for path in files.values())).hexdigest()
    for output in run.outputs.model_outputs if run.outputs else ():
        if client.get_logged_model(output.model_id).tags.get("model.hash") == digest:
            return f"models:/{output.model_id}"
    images = Schema([TensorSpec(np.dtype(np.float32), (-1, *model.summary.shape))])
    params = ParamSchema(
        [ParamSpec("n", DataType.long, 0), ParamSpec("seed", DataType.long, 0), ParamSpec("prior", DataType.string, "")]
    )
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=experiment_id)
    # `mlflow.pyfunc.log_model` would restart the run, which changes its status and end time.
    info: Any = Model.log(
        artifact_path=None,
        name="model",
        flavor=mlflow.pyfunc,
        run_id=run.info.run_id,
        step=selection.config.epochs,
        tags={"model.hash": digest},
        python_model=str(Path(__file__).with_name("pyfunc_model.py")),
        artifacts=files,
        signature=ModelSignature(inputs=images, outputs=images, params=params),
        input_example=model.sample(2, torch.Generator().manual_seed(0)).numpy(),
        pip_requirements=[f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in _REQUIREMENTS],
    )
    return info.model_uri
