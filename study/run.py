"""Runs a study of the trade-off between reconstruction and sampling, or resumes one.

python -m study.run --space wae_weight --dataset digits
"""

from __future__ import annotations

import itertools
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Literal

import typer

from study.cli import (
    DONE,
    AddressOption,
    CpusOption,
    DataOption,
    GpusOption,
    MaxFailuresOption,
    RunsOption,
    TrackingOption,
    console,
    ranged,
    run_command,
    typed_command,
)
from study.config import UserError
from study.dry_run import show
from study.launch import SHOWN_TRIALS, Options, launch
from study.packages import check_packages
from study.space import builtin_spaces, load_space

DEFAULT_REPLICATES = 5
_WIDEST_LIST = 100

SAMPLERS = ("tpe", "gp", "nsga2", "nsga3", "qmc", "random")
Scheduler = Literal["asha", "none"]


def run(
    given: Annotated[
        str | None, typer.Argument(metavar="SPACE", help="Search space, as --space.", show_default=False)
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Search space: a name that --list shows, or the path of a .py file.")
    ] = None,
    list_spaces: Annotated[bool, typer.Option("--list", help="List the search spaces and exit.")] = False,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set: digits, mnist, fashion_mnist, cifar10, folder:PATH, npz:PATH or npy:PATH.",
            show_default="the one that the space brings, or digits",
        ),
    ] = None,
    data_dir: DataOption = None,
    image_size: Annotated[
        int | None,
        ranged("image_size", help="Resize the images of folder:PATH to this many pixels.", default="what suits most"),
    ] = None,
    num_trials: Annotated[
        int | None, ranged("num_trials", help="Number of trials.", default="as the space says")
    ] = None,
    epochs: Annotated[
        int | None, ranged("epochs", help="Epochs of each trial.", default="as the space or data set says")
    ] = None,
    seed: Annotated[int | None, ranged("seed", help="Seed of search and training.", default="0")] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Optuna sampler that suggests trials: {', '.join(SAMPLERS)}, or module:Class.",
            show_default="the space's, or tpe",
            autocompletion=lambda: [*SAMPLERS],
        ),
    ] = None,
    scheduler: Annotated[
        Scheduler | None,
        typer.Option(help="asha stops bad trials early, none stops no trial.", show_default="asha; none for a grid"),
    ] = None,
    eta: Annotated[
        float | None, ranged("eta", help="With asha, one trial in ETA continues at each rung.", default="2")
    ] = None,
    feature_network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What samples are compared in: classes, contrast, imagenet, the space's own, or module:function.",
            show_default="the first that passes its checks",
        ),
    ] = None,
    warm_start: Annotated[
        str | None, typer.Option(metavar="STUDY", help="Train the Pareto-optimal points of this study first.")
    ] = None,
    patience: Annotated[
        int | None, ranged("patience", help="Start no trial once this many in a row were not Pareto-optimal.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--study", "--name", help="Name of the study.", show_default="the space and the data set"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the study of this name.")] = False,
    create: Annotated[bool, typer.Option("--create", help="With --resume, begin the study if there is none.")] = False,
    cpus_per_trial: CpusOption = 1,
    gpus_per_trial: GpusOption = 0,
    max_concurrent: Annotated[int | None, ranged("max_concurrent", help="Most trials to run at once.")] = None,
    max_failures: MaxFailuresOption = 2,
    address: AddressOption = None,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="STUDY_STORAGE",
            help="PostgreSQL URL of the database that lists the trials.",
            show_default="a file in the study's folder",
        ),
    ] = None,
    tracking_uri: TrackingOption = None,
    runs_dir: RunsOption = Path("runs"),
    time_budget: Annotated[float | None, ranged("time_budget", help="Start no trial after this many seconds.")] = None,
    replicates: Annotated[
        int,
        ranged(
            "replicates",
            help="Train each Pareto-optimal trial again with this many fresh seeds; "
            f"--replicates alone means {DEFAULT_REPLICATES}.",
        ),
    ] = 0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help=f"Show the first {SHOWN_TRIALS} trials and what the study costs, and exit."),
    ] = False,
) -> int:
    """The command, see the module."""
    if list_spaces:
        return print_spaces()
    if given is not None and space is not None:
        raise UserError(f"{given} and --space {space}: name one search space")
    space = given or space
    if space is None:
        raise UserError(f"--space is missing: choose from {', '.join(builtin_spaces())}, or give a .py file")
    options = Options(
        space=space,
        data=dataset,
        data_dir=data_dir,
        image_size=image_size,
        name=name,
        num_trials=num_trials,
        epochs=epochs,
        seed=seed,
        sampler=sampler,
        scheduler=scheduler,
        eta=eta,
        feature_network=feature_network,
        warm_start=warm_start,
        patience=patience,
        resume=resume,
        create=create,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        max_concurrent=max_concurrent,
        max_failures=max_failures,
        address=address,
        storage=storage,
        tracking_uri=tracking_uri,
        runs_dir=runs_dir,
        time_budget=time_budget,
        replicates=replicates,
    )
    if dry_run:
        show(options, console())
        return DONE
    from study.tracking.store import redact_command

    screen = console()
    result, _ = launch(options, screen, redact_command(typed_command("study.run")))
    return result.tell(screen)


def with_default_replicates(arguments: list[str]) -> list[str]:
    """Adds the default number after a `--replicates` that has none."""
    filled: list[str] = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        filled.append(argument)
        if argument == "--replicates" and not (following or "").lstrip("-").isdigit():
            filled.append(str(DEFAULT_REPLICATES))
    return filled


def print_spaces() -> int:
    """Prints the built-in spaces with their questions."""
    check_packages()
    width = min(shutil.get_terminal_size().columns, _WIDEST_LIST)
    for name in builtin_spaces():
        space = load_space(name).space
        for text, indent in ((f"{name}: {space.num_trials} trials, {space.cost}", ""), (space.question, "    ")):
            typer.echo(textwrap.fill(text, width, initial_indent=indent, subsequent_indent="    "))
    return DONE


if __name__ == "__main__":
    run_command(run, with_default_replicates(sys.argv[1:]))
