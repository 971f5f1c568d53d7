"""`python -m study.retrain --study NAME --epochs E`: trains a chosen configuration longer, as a run of its study."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from study.cli import DONE, FAILED, KneeOption, MaxMseOption, RunsOption, StudyOption, TrialOption, run_command
from study.config import TrialConfig, UserError
from study.results.frame import load_study
from study.results.selection import Selection, select
from study.space import LoadedSpace, load_space


def retrain(
    study: StudyOption,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs, more than the trial was trained for.")],
    trial: TrialOption = None,
    knee: KneeOption = False,
    max_mse: MaxMseOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where data sets lie (torchvision's layout).")] = None,
    cpus_per_trial: Annotated[float, typer.Option(min=0.01, help="CPU cores of the trial.")] = 1,
    gpus_per_trial: Annotated[float, typer.Option(min=0, help="GPUs of the trial.")] = 0,
    max_failures: Annotated[int, typer.Option(min=0, help="Retries if the trial's process dies.")] = 2,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster, or auto.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow; default: MLFLOW_TRACKING_URI, then runs/.")] = None,
    runs_dir: RunsOption = Path("runs"),
) -> int:
    """Trains a trial's configuration from the start for more epochs; the new trial stands beside the search.

    It never joins the front, since it had another budget, and is not counted among the study's trials. The same command
    given again goes on where it was cut off. Trials that the study left unfinished are finished first.
    """
    runs = runs_dir.expanduser().absolute()
    selection = select(runs, study, trial=trial, knee=knee, max_mse=max_mse)
    if epochs <= selection.config.epochs:
        raise UserError(f"--epochs {epochs}: trial {selection.number} has {selection.config.epochs}, give more")
    from analysis.reporting.ending import Ending  # imports matplotlib, and the rest torch: quick checks come first
    from study.session.plan import Request, make_plan
    from study.session.session import Limits, run_study
    from study.tracking.store import redact_command
    from study.tuning.cluster import Cluster, Resources

    plan = make_plan(
        Request(
            loaded=_space_of(selection),
            name=study,
            runs=runs,
            dataset=selection.config.dataset,
            data_dir=data_dir,
            num_trials=None,
            epochs=None,
            seed=None,
            sampler=None,
            scheduler=None,
            eta=None,
            resume=True,
            command=redact_command(["python", "-m", "study.retrain", *sys.argv[1:]]),
        )
    )
    console = Console()
    console.print(f"{selection.describe()}: {epochs} epochs", highlight=False, soft_wrap=True)
    resources = Resources(cpus=cpus_per_trial, gpus=gpus_per_trial)
    with Cluster(address, resources) as cluster:
        ending = Ending(console, runs, study)
        result = run_study(
            plan,
            console,
            cluster,
            draw=ending.draw,
            tracking_uri=tracking_uri,
            limits=Limits(max_failures=max_failures),
            search=False,
            enqueue_extra=lambda ledger: ledger.retrain(selection.number, epochs),
        )
    ending.show()
    status = result.tell(console)
    found = _newest(runs, study, selection.config.replace(epochs=epochs))
    if found is not None:
        console.print(f"{found.describe()}: {found.outcome}", highlight=False, soft_wrap=True)
    return status or (DONE if found is not None and found.outcome == "completed" else FAILED)


def _newest(runs: Path, study: str, config: TrialConfig) -> Selection | None:
    """The newest retrained trial of that configuration."""
    frames = load_study(runs, study)
    for number in reversed(frames.column("number")[frames.text("origin") == "retrain"]):
        found = select(runs, study, trial=int(number))
        if found.config == config:
            return found
    return None


def _space_of(selection: Selection) -> LoadedSpace:
    """The study's space: from the file it came from, or by its name where this project lies elsewhere now."""
    path = Path(selection.study.space_path)
    return load_space(str(path) if path.is_file() else selection.study.space)


if __name__ == "__main__":
    run_command(retrain)
