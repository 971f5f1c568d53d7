"""`python -m study.export --study NAME`: takes a trained model away from its study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.cli import KneeOption, MaxMseOption, RunsOption, StudyOption, TrialOption, run_command
from study.config import UserError
from study.results.selection import select
from study.tracking import check_uri, default_tracking_uri


def export(
    study: StudyOption,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("model"),
    trial: TrialOption = None,
    knee: KneeOption = False,
    max_mse: MaxMseOption = None,
    log_to_mlflow: Annotated[bool, typer.Option(help="Log the model on the trial's MLflow run.")] = True,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow; default: MLFLOW_TRACKING_URI, then runs/.")] = None,
    runs_dir: RunsOption = Path("runs"),
) -> None:
    """Writes a trained model as weights, configuration and one Python file that needs torch and safetensors alone."""
    uri = tracking_uri or default_tracking_uri(runs_dir)
    check_uri(uri)
    selection = select(runs_dir, study, trial=trial, knee=knee, max_mse=max_mse)
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
            typer.echo(f"MLflow   not logged ({error}); when it answers, give the same command again", err=True)


if __name__ == "__main__":
    run_command(export)
