"""Trains the configuration of a trial again, from the start and for more epochs, as a new trial of its study.

    python -m study.retrain --study wae_weight --knee --epochs 200

The new trial never joins the Pareto front, because it had another budget, and does not count towards the study's number
of trials. The same command continues a training that was cut off. Trials that the study left unfinished run first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from study.cli import (
    DONE,
    FAILED,
    AddressOption,
    CpusOption,
    DataOption,
    GpusOption,
    KneeOption,
    MaxFailuresOption,
    MaxMseOption,
    NearlyBestOption,
    RunsOption,
    StudyOption,
    TrackingOption,
    TrialOption,
    console,
    ranged,
    run_command,
    typed_command,
)
from study.config import TrialConfig, UserError
from study.results.frame import load_study
from study.results.selection import Selection, select
from study.session.resuming import recorded_space
from study.space import load_space


def retrain(
    study: StudyOption,
    epochs: Annotated[int, ranged("epochs", help="Epochs, more than the trial had.")],
    trial: TrialOption = None,
    knee: KneeOption = False,
    nearly_best: NearlyBestOption = None,
    max_mse: MaxMseOption = None,
    data_dir: DataOption = None,
    cpus_per_trial: CpusOption = 1,
    gpus_per_trial: GpusOption = 0,
    max_failures: MaxFailuresOption = 2,
    address: AddressOption = None,
    tracking_uri: TrackingOption = None,
    runs_dir: RunsOption = Path("runs"),
) -> int:
    """The command, see the module."""
    runs = runs_dir.expanduser().absolute()
    selection = select(runs, study, trial=trial, knee=knee, nearly_best=nearly_best, max_mse=max_mse)
    if epochs <= selection.config.epochs:
        raise UserError(f"--epochs {epochs}: trial {selection.number} has {selection.config.epochs}, give more")
    from analysis.reporting.ending import Ending  # imports matplotlib, and the rest torch: quick checks come first
    from study.session.plan import Request, make_plan
    from study.session.session import Limits, run_study
    from study.tracking.store import redact_command
    from study.tuning.cluster import Cluster, Resources

    loaded = load_space(recorded_space(selection.study, selection.directory))
    if not loaded.is_same(selection.study.space_hash, selection.study.data):  # the study must not begin anew
        raise UserError(f"{loaded.path} has changed since study {study!r} began: restore it")
    plan = make_plan(
        Request(
            loaded=loaded,
            name=study,
            runs=runs,
            dataset=selection.study.data.name,
            data_dir=data_dir,
            num_trials=None,
            epochs=None,
            seed=None,
            sampler=None,
            scheduler=None,
            eta=None,
            resume=True,
            command=redact_command(typed_command("study.retrain")),
        )
    )
    screen = console()
    screen.print(f"{selection.describe()}: {epochs} epochs", soft_wrap=True)
    resources = Resources(cpus=cpus_per_trial, gpus=gpus_per_trial)
    with Cluster(address, resources) as cluster:
        ending = Ending(screen, runs, study)
        result = run_study(
            plan,
            screen,
            cluster,
            draw=ending.draw,
            tracking_uri=tracking_uri,
            limits=Limits(max_failures=max_failures),
            search=False,
            enqueue_extra=lambda ledger: ledger.retrain(selection.number, epochs),
        )
    ending.show()
    status = result.tell(screen)
    found = _newest(runs, study, selection.config.replace(epochs=epochs))
    if found is not None:
        screen.print(f"{found.describe()}: {found.outcome}", soft_wrap=True)
    return status or (DONE if found is not None and found.outcome == "completed" else FAILED)


def _newest(runs: Path, study: str, config: TrialConfig) -> Selection | None:
    """The newest retrained trial of that configuration."""
    frames = load_study(runs, study)
    for number in reversed(frames.column("number")[frames.text("origin") == "retrain"]):
        found = select(runs, study, trial=int(number))
        if found.config == config:
            return found
    return None


if __name__ == "__main__":
    run_command(retrain)
