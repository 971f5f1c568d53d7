"""Exports a trained model of a study: weights, configuration and one Python file that loads them.

    python -m study.export --study wae_weight --out model

The file needs torch and safetensors, not this project.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.cli import (
    KneeOption,
    MaxMseOption,
    NearlyBestOption,
    RunsOption,
    StudyOption,
    TrackingOption,
    TrialOption,
    run_command,
)
from study.config import UserError
from study.results.selection import select
from study.tracking import check_uri, default_tracking_uri


def export(
    study: StudyOption,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("model"),
    trial: TrialOption = None,
    knee: KneeOption = False,
    nearly_best: NearlyBestOption = None,
    max_mse: MaxMseOption = None,
    log_to_mlflow: Annotated[bool, typer.Option(help="Also log the model to the trial's MLflow run.")] = True,
    tracking_uri: TrackingOption = None,
    runs_dir: RunsOption = Path("runs"),
) -> None:
    """The command, see the module."""
    uri = tracking_uri or default_tracking_uri(runs_dir)
    check_uri(uri)
    selection = select(runs_dir, study, trial=trial, knee=knee, nearly_best=nearly_best, max_mse=max_mse)
    from study.exporting.export import export_model, log_model  # imports torch: quick checks come first
    from study.exporting.trained import load_model

    model = load_model(selection)
    try:
        export_model(selection, model, out)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}") from error
    typer.echo(f"{selection.describe()}\n{out}")
    if log_to_mlflow:
        try:
            typer.echo(f"MLflow   {log_model(selection, model, out, uri)}")
        except UserError as error:
            typer.echo(f"MLflow   not logged ({error}); when MLflow answers, run this command again", err=True)


if __name__ == "__main__":
    run_command(export)
