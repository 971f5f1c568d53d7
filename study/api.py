"""Runs and steers studies from a script or a notebook, with the options of the commands as arguments."""

from __future__ import annotations

import dataclasses
import numbers
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import UserError
from study.dry_run import preview
from study.found import Study, load_study
from study.launch import Options, launch
from study.session.process import unchanged_logging, unchanged_process
from study.space import SearchSpace

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from study.data.datasets import ImageData
    from study.session.steering import Steered


def run_study(
    space: str | Path | SearchSpace,
    *,
    data: str | ImageData | None = None,
    data_dir: str | Path | None = None,
    name: str | None = None,
    num_trials: int | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    sampler: str | Callable[..., Any] | None = None,
    scheduler: str | None = None,
    eta: float | None = None,
    image_size: int | None = None,
    feature_network: str | None = None,
    warm_start: str | None = None,
    patience: int | None = None,
    resume: bool = False,
    create: bool = False,
    cpus_per_trial: float = 1,
    gpus_per_trial: float = 0,
    max_concurrent: int | None = None,
    max_failures: int = 2,
    address: str | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
    runs_dir: str | Path = "runs",
    time_budget: float | None = None,
    replicates: int = 0,
    progress: bool = True,
) -> Study:
    """Runs a study, or resumes one, as `python -m study.run` does, and leaves the process as it was.

    Every argument but the last is an option of that command, which docs/search.md explains; None is its default.

    Args:
        space: A built-in space's name, the path of a .py file, or a `SearchSpace` of this script or notebook.
        data: A data set's name, as of `--dataset`, or the data themselves; by default the one that the space brings, or
            `digits`.
        data_dir: Where data sets lie or are downloaded to.
        name: The study's name; by default that of the space and the data.
        num_trials: Trials of the whole study.
        epochs: Epochs of each trial.
        seed: Seed of search and training.
        sampler: `tpe`, `gp`, `nsga2`, `nsga3`, `qmc`, `random`, `module:Class`, or a class or function that is called
            with `seed=` and gives an Optuna sampler.
        scheduler: `asha` stops bad trials early, `none` no trial.
        eta: With asha, one trial in eta continues at each rung.
        image_size: Pixels of each side that the images of `folder:PATH` get; by default what suits most of them.
        feature_network: What samples are compared in.
        warm_start: An earlier study whose Pareto-optimal points are trained first.
        patience: Start no trial once this many in a row were not Pareto-optimal.
        resume: Continue the study of this name. A finished one is returned as it is.
        create: With `resume`, begin the study if there is none.
        cpus_per_trial: CPU cores of a trial.
        gpus_per_trial: GPUs of a trial: a share of one, or a whole number, of which all train it.
        max_concurrent: Most trials at once.
        max_failures: Retries of a trial whose process died.
        address: A running Ray cluster; by default Ray starts here and ends with the study.
        storage: PostgreSQL URL of the database that lists the trials.
        tracking_uri: MLflow's store.
        runs_dir: The folder of all studies.
        time_budget: Start no trial after this many seconds.
        replicates: Fresh seeds of each Pareto-optimal trial.
        progress: Print what the command prints.

    Returns:
        What the study found.

    Raises:
        UserError: Something is not as it must be, in the words of the command; or no trial was trained to its end.
        KeyboardInterrupt: The study was interrupted; `resume=True` continues it.
    """
    asked = {key: value for key, value in locals().items() if key != "progress"}
    options = _options(**asked)
    with unchanged_process():
        screen = _screen(progress)
        result, directory = launch(options, screen, _call(options))
        result.tell(screen)
        found = load_study(directory)
    if result.outcome == "interrupted":
        raise KeyboardInterrupt
    if result.outcome == "failed":
        raise UserError(found.failure())
    return found


def preview_study(space: str | Path | SearchSpace, **options: Any) -> pd.DataFrame:
    """The first trials of a study, as `--dry-run` shows them: all is checked, nothing is trained or written.

    A network or likelihood of the space's own that could be trained and not exported is a warning.

    Args:
        space: As of `run_study`.
        **options: Other arguments of `run_study`.

    Raises:
        UserError: As `run_study`.
    """
    asked = _options(space=space, **options)
    with unchanged_process():
        import pandas as pd

        shown = preview(asked)
        for warning in shown.warnings:
            warnings.warn(warning, stacklevel=2)
        return pd.DataFrame(shown.trials)


def control_study(
    path: str | Path,
    *,
    max_concurrent: int | str | None = None,
    pause: bool = False,
    resume: bool = False,
    stop_trials: Sequence[int] = (),
    ranges: Mapping[str, tuple[float, float] | Sequence[Any] | None] | None = None,
    storage: str | None = None,
) -> Steered:
    """Steers a study that another process or thread runs, or that is resumed later, as `study control` does.

    Without arguments it only tells what is in force.

    Args:
        path: The study's folder, such as `runs/wae_weight`.
        max_concurrent: Most trials at once, `auto` for as many as fit, or `default` for the number given at the start.
        pause: Let no trial run until `resume`.
        resume: End the pause.
        stop_trials: Trials that end at their next evaluation.
        ranges: What further suggestions lie in, by parameter: a tuple `(low, high)`, a list of choices, or None for
            what the space says.
        storage: The ledger's database, if the study's record cannot tell its password.

    Returns:
        What is in force, all changes, and those that were recorded now.

    Raises:
        UserError: There is no such study, or something cannot be, in the words of the command.
    """
    from study.search.asked_ranges import Interval
    from study.session.steering import Wishes, steer

    asked: dict[str, Any] = {}
    for name, value in (ranges or {}).items():
        if isinstance(value, tuple) and len(value) == 2 and all(isinstance(end, numbers.Real) for end in value):
            asked[name] = Interval(*value)
        elif value is None or isinstance(value, list):
            asked[name] = None if value is None else tuple(value)
        else:
            raise UserError(
                f"ranges: {name!r} has {value!r}: give a tuple (low, high) of numbers, a list of choices, or None"
            )
    wishes = Wishes(
        max_concurrent=max_concurrent, pause=pause, resume=resume, stop_trials=tuple(stop_trials), ranges=asked
    )
    directory = Path(path).expanduser().absolute()
    with unchanged_logging():
        return steer(directory.parent, directory.name, wishes, storage or os.environ.get("STUDY_STORAGE"))


def _options(**asked: Any) -> Options:
    """The options of a study, paths as such."""
    if isinstance(asked["space"], Path):
        asked["space"] = str(asked["space"])
    for name in ("data_dir", "runs_dir"):
        if isinstance(asked.get(name), str):
            asked[name] = Path(asked[name])
    if not asked.get("storage"):
        asked["storage"] = os.environ.get("STUDY_STORAGE")
    known = {field.name for field in dataclasses.fields(Options)}
    if unknown := asked.keys() - known:
        raise UserError(f"no option {', '.join(sorted(unknown))}: choose from {', '.join(sorted(known))}")
    return Options(**asked)


def _call(options: Options) -> str:
    """The call that began a study, for its record, without what may hold a password."""
    parts = ["space" if isinstance(options.space, SearchSpace) else repr(options.space)]
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in ("space", "storage", "tracking_uri", "address") or value == field.default:
            continue
        text = field.name if field.name in ("data", "sampler") and not isinstance(value, str) else repr(value)
        parts.append(f"{field.name}={repr(str(value)) if isinstance(value, Path) else text}")
    return f"study.run_study({', '.join(parts)})"


def _screen(progress: bool) -> Console:
    """Plain lines, in a notebook too: Rich's own output there would be one box of HTML for each."""
    from rich.console import Console

    return Console(markup=False, highlight=False, quiet=not progress, force_jupyter=False)
