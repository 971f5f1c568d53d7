"""`python -m study.run --space NAME`: runs a trade-off study, or takes one up where it was left."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import re
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from study.cli import DONE, run_command
from study.config import UserError
from study.disk.layout import STUDY_NAME
from study.disk.lock import living_driver
from study.disk.study_json import read_study
from study.space import LoadedSpace, builtin_spaces, load_space
from study.tuning.imports import quick_imports

DEFAULT_REPLICATES = 5


def run(
    space: Annotated[str | None, typer.Option(help="A search space by name, or the path of a .py file.")] = None,
    list_spaces: Annotated[bool, typer.Option("--list", help="List the search spaces and stop.")] = False,
    dataset: Annotated[str, typer.Option(help="digits, mnist, fashion_mnist, cifar10 or folder:PATH.")] = "digits",
    data_dir: Annotated[Path | None, typer.Option(help="Where data sets lie (torchvision's layout).")] = None,
    num_trials: Annotated[int | None, typer.Option(min=1, help="Trials of the study; default: the space's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of a trial; default: the data set's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of search and training.")] = None,
    sampler: Annotated[str | None, typer.Option(help="tpe, nsga2 or random.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="asha stops trials early, none does not.")] = None,
    eta: Annotated[float | None, typer.Option(help="asha: one trial in so many goes on at a rung; default 2.")] = None,
    warm_start: Annotated[str | None, typer.Option(help="Begin with this study's Pareto-optimal points.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Trials without a new Pareto-optimal one after which none begins.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The study's name; default: the space and the data set.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study of this name.")] = False,
    cpus_per_trial: Annotated[float, typer.Option(min=0.01, help="CPU cores of a trial.")] = 1,
    gpus_per_trial: Annotated[float, typer.Option(min=0, help="GPUs of a trial; 0.25: four on one.")] = 0,
    max_concurrent: Annotated[int | None, typer.Option(min=1, help="Trials at once, at most.")] = None,
    max_failures: Annotated[int, typer.Option(min=0, help="Retries of a trial whose process died.")] = 2,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster, HOST:PORT or auto.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(envvar="STUDY_STORAGE", help="A PostgreSQL URL for the ledger; default: the study's own file."),
    ] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow; default: MLFLOW_TRACKING_URI, then runs/.")] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where studies lie.")] = Path("runs"),
    time_budget: Annotated[float | None, typer.Option(min=1, help="Seconds after which no trial begins.")] = None,
    replicates: Annotated[
        int,
        typer.Option(min=0, help=f"Fresh seeds for each Pareto-optimal trial; {DEFAULT_REPLICATES} without a number."),
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the first trials and stop.")] = False,
) -> int:
    """Runs a hyperparameter study of the trade-off between reconstruction and sampling."""
    console = Console()
    if list_spaces:
        return _list(console)
    if space is None:
        raise UserError(f"--space is missing: choose from {', '.join(builtin_spaces())}, or give a .py file")
    loaded = load_space(space)
    study_name = name or _default_name(loaded, dataset)
    if not STUDY_NAME.fullmatch(study_name):
        raise UserError(
            f"--name {study_name}: use letters, digits, . _ and - (at most 100, not beginning with one of . _ -)"
        )
    runs = runs_dir.expanduser().absolute()
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
            from study.session.plan import Request, first_configs, make_plan
            from study.session.session import Limits, replicate_front, run_study
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
            )
        )
        if dry_run:
            return _show_first(console, first_configs(plan, limit=20))
        ending = Ending(console, runs, study_name)
        result = run_study(
            plan,
            console,
            cluster,
            draw=ending.draw,
            tracking_uri=tracking_uri,
            limits=Limits(time_budget=time_budget, patience=patience, max_failures=max_failures),
            enqueue_extra=functools.partial(replicate_front, plan, replicates) if replicates else None,
        )
        ending.show()
        return result.tell(console)


def _has_trials_to_train(directory: Path, resume: bool) -> bool:
    """Whether Ray will be wanted, as far as one can see now; where not, it is started once the plan says so."""
    record = read_study(directory)
    if record is None:
        return True
    unfinished = resume and record.outcome in ("running", "interrupted")
    return unfinished and living_driver(directory, time.time()) is None


def _import_the_rest() -> None:
    """Imports what a study needs, while Ray starts; what goes wrong is met again where it is used."""
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


def _show_first(console: Console, configs: list[Mapping[str, Any]]) -> int:
    """Prints the parameters in which the first trials differ; what they share stands in one line below."""
    shared = {key: value for key, value in configs[0].items() if all(config[key] == value for config in configs)}
    varying = [key for key in configs[0] if key not in shared]
    table = Table("trial", *varying, box=None, pad_edge=False)
    for number, config in enumerate(configs):
        cells = (config[key] for key in varying)
        table.add_row(str(number), *(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells))
    console.print(table)
    console.print("all: " + " ".join(f"{key}={value}" for key, value in shared.items()), highlight=False)
    return DONE


def with_default_replicates(arguments: list[str]) -> list[str]:
    """Lets `--replicates` stand without a number."""
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


def _list(console: Console) -> int:
    table = Table("space", "trials", "question", "cost", box=None, pad_edge=False, leading=1)
    for name in builtin_spaces():
        space = load_space(name).space
        table.add_row(name, str(space.num_trials), space.question, space.cost)
    console.print(table)
    return DONE


if __name__ == "__main__":
    run_command(run, with_default_replicates(sys.argv[1:]))
