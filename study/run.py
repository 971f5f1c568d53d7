"""Runs a study of the trade-off between reconstruction and sampling, or resumes one.

python -m study.run --space wae_weight --dataset digits
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

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
)
from study.config import UserError
from study.disk.layout import STUDY_NAME, check_is_there
from study.disk.lock import living_driver
from study.disk.study_json import read_study
from study.space import LoadedSpace, builtin_spaces, load_space
from study.tuning.imports import quick_imports

DEFAULT_REPLICATES = 5
SHOWN_TRIALS = 20
"""Trials that are built before a new study begins, and that `--dry-run` shows."""
_WIDEST_LIST = 100

Sampler = Literal["tpe", "nsga2", "random"]
Scheduler = Literal["asha", "none"]


def run(
    space: Annotated[
        str | None, typer.Option(help="Search space: a name that --list shows, or the path of a .py file.")
    ] = None,
    list_spaces: Annotated[bool, typer.Option("--list", help="List the search spaces and exit.")] = False,
    dataset: Annotated[
        str, typer.Option(help="Data set: digits, mnist, fashion_mnist, cifar10, folder:PATH, npz:PATH or npy:PATH.")
    ] = "digits",
    data_dir: DataOption = None,
    num_trials: Annotated[
        int | None, ranged("num_trials", help="Number of trials.", default="as the space says")
    ] = None,
    epochs: Annotated[
        int | None, ranged("epochs", help="Epochs of each trial.", default="as the space or data set says")
    ] = None,
    seed: Annotated[int | None, ranged("seed", help="Seed of search and training.", default="0")] = None,
    sampler: Annotated[
        Sampler | None, typer.Option(help="Optuna sampler that suggests trials.", show_default="tpe")
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
            help="What samples are compared in: classes, contrast, or module:function (images to features).",
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
        bool, typer.Option("--dry-run", help=f"Build and show the first {SHOWN_TRIALS} trials, train none, and exit.")
    ] = False,
) -> int:
    """The command, see the module."""
    if list_spaces:
        return _list()
    if space is None:
        raise UserError(f"--space is missing: choose from {', '.join(builtin_spaces())}, or give a .py file")
    loaded = load_space(space)
    study_name = name or _default_name(loaded, dataset)
    if not STUDY_NAME.fullmatch(study_name):
        raise UserError(
            f"--study {study_name}: use at most 100 letters, digits, dots, - and _, and begin with a letter or digit"
        )
    runs = runs_dir.expanduser().absolute()
    if resume and not create:
        check_is_there(runs, study_name)
    importing = threading.Thread(target=_import_the_rest, name="imports", daemon=True)
    with contextlib.ExitStack() as stack:
        with quick_imports():
            importing.start()
            from study.tuning.cluster import Cluster, Resources

            resources = Resources(cpus=cpus_per_trial, gpus=gpus_per_trial, max_concurrent=max_concurrent)
            cluster = stack.enter_context(Cluster(address, resources))
            if not dry_run and _has_trials_to_train(runs / study_name, resume):
                cluster.join()  # on this thread: Ray's processes end with the thread that started them
            importing.join()
            from analysis.reporting.ending import Ending
            from study.session.first_models import build_models
            from study.session.plan import Request, first_configs, make_plan
            from study.session.replicates import replicate_front
            from study.session.session import Limits, run_study
            from study.tracking.store import redact_command

        plan = make_plan(
            Request(
                loaded=loaded,
                name=study_name,
                runs=runs,
                dataset=dataset,
                data_dir=data_dir,
                num_trials=num_trials,
                epochs=epochs,
                seed=seed,
                sampler=sampler,
                scheduler=scheduler,
                eta=eta,
                resume=resume,
                command=redact_command(["python", "-m", "study.run", *sys.argv[1:]]),
                storage=storage,
                warm_start=warm_start,
                feature_network=feature_network,
            )
        )
        if dry_run or plan.is_new:  # a mistake in the space is told before the study has a folder
            configs = first_configs(plan, limit=SHOWN_TRIALS)
            build_models(configs, plan.data.summary, loaded.space)
            if dry_run:
                return _show_first(configs)
        screen = console()
        ending = Ending(screen, runs, study_name)
        result = run_study(
            plan,
            screen,
            cluster,
            draw=ending.draw,
            tracking_uri=tracking_uri,
            limits=Limits(time_budget=time_budget, patience=patience, max_failures=max_failures),
            enqueue_extra=functools.partial(replicate_front, plan, replicates) if replicates else None,
        )
        ending.show()
        return result.tell(screen)


def _has_trials_to_train(directory: Path, resume: bool) -> bool:
    """A quick guess whether Ray is needed; if it is wrong, Ray starts later, when the plan asks for it."""
    record = read_study(directory)
    if record is None:
        return True
    unfinished = resume and record.outcome in ("running", "interrupted")
    return unfinished and living_driver(directory, time.time()) is None


def _import_the_rest() -> None:
    """Imports what a study needs while Ray starts; an import that fails here fails again where it is used."""
    with contextlib.suppress(Exception):
        for name in (
            "torch",
            "sklearn.datasets",
            "optuna",
            "pandas",
            "analysis.reporting.ending",
            "study.session.session",
        ):
            importlib.import_module(name)


def _show_first(configs: list[Mapping[str, Any]]) -> int:
    """Prints a table of the parameters that differ between the first trials, and the shared ones in a line below."""
    from rich.table import Table

    shared = {key: value for key, value in configs[0].items() if all(config[key] == value for config in configs)}
    varying = [key for key in configs[0] if key not in shared]
    table = Table(box=None, pad_edge=False)
    for heading in ("trial", *varying):
        table.add_column(heading, overflow="fold")
    for number, config in enumerate(configs):
        cells = (config[key] for key in varying)
        table.add_row(str(number), *(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells))
    screen = console()
    screen.print(table)
    screen.print("all: " + " ".join(f"{key}={value}" for key, value in shared.items()))
    return DONE


def with_default_replicates(arguments: list[str]) -> list[str]:
    """Adds the default number after a `--replicates` that has none."""
    filled: list[str] = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        filled.append(argument)
        if argument == "--replicates" and not (following or "").lstrip("-").isdigit():
            filled.append(str(DEFAULT_REPLICATES))
    return filled


def _default_name(loaded: LoadedSpace, dataset: str) -> str:
    if dataset == "digits":
        return loaded.name
    kind, _, path = dataset.partition(":")
    suffix = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).name) if path else kind
    return f"{loaded.name}-{suffix}"


def _list() -> int:
    width = min(shutil.get_terminal_size().columns, _WIDEST_LIST)
    for name in builtin_spaces():
        space = load_space(name).space
        for text, indent in ((f"{name}: {space.num_trials} trials, {space.cost}", ""), (space.question, "    ")):
            typer.echo(textwrap.fill(text, width, initial_indent=indent, subsequent_indent="    "))
    return DONE


if __name__ == "__main__":
    run_command(run, with_default_replicates(sys.argv[1:]))
