"""What `python -m study.run` and `study.run_study` share: from options to a study that has run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import UserError
from study.packages import check_packages, check_working_directory
from study.ranges import RANGES
from study.source import Source, gather
from study.space import LoadedSpace, SearchSpace, load_space
from study.space_code import code_of_space, file_of
from study.tuning.imports import quick_imports

if TYPE_CHECKING:
    from rich.console import Console

    from study.data.datasets import ImageData
    from study.session.plan import Plan
    from study.session.session import SessionResult
    from study.tuning.cluster import Cluster

SHOWN_TRIALS = 20
"""Trials that are built before a new study begins, and that `--dry-run` shows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may ask of a study: the options of `python -m study.run`, with the same words and defaults.

    Attributes:
        space: A built-in space's name, the path of a .py file, or the space itself.
        data: A data set's name, as of `--dataset`, or the data themselves; by default the one that the space brings, or
            `digits`.
    """

    space: str | SearchSpace
    data: str | ImageData | None = None
    data_dir: Path | None = None
    name: str | None = None
    num_trials: int | None = None
    epochs: int | None = None
    seed: int | None = None
    sampler: str | Callable[..., Any] | None = None
    scheduler: str | None = None
    eta: float | None = None
    image_size: int | None = None
    feature_network: str | None = None
    warm_start: str | None = None
    patience: int | None = None
    resume: bool = False
    create: bool = False
    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    max_concurrent: int | None = None
    max_failures: int = 2
    address: str | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    runs_dir: Path = Path("runs")
    time_budget: float | None = None
    replicates: int = 0

    def check_ranges(self) -> None:
        """Refuses a number outside its range, as the command does.

        Raises:
            UserError: There is one, or something else than a number.
        """
        for field in dataclasses.fields(self):
            value, allowed = getattr(self, field.name), RANGES.get(field.name)
            if allowed is None or (value is None and field.default is None):
                continue
            kinds, kind = ((int, float), "number") if "float" in str(field.type) else ((int,), "whole number")
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise UserError(f"{field.name}: {value!r} is no {kind}")
            if not allowed.holds(value):
                raise UserError(f"{field.name}: {value} is not in its range: it must be {allowed}")


def launch(options: Options, screen: Console, command: str) -> tuple[SessionResult, Path]:
    """Runs a study to its end, and prints how it ended.

    Args:
        options: What is asked for.
        screen: Where a person watches.
        command: How it was asked for, without secrets, for the record.

    Returns:
        How the session ended, and the study's folder.

    Raises:
        UserError: The options do not allow a study.
    """
    screen.print("reading the data and building the first models", highlight=False)
    with planned(options, command, joins=True) as (plan, cluster):
        import matplotlib

        from analysis.reporting.ending import Ending
        from analysis.reporting.live import LiveReport
        from study.session.replicates import replicate_front
        from study.session.session import Limits, run_study

        if plan.is_new:  # a mistake in the space is told before the study has a folder
            built(plan)
        limits = Limits(time_budget=options.time_budget, patience=options.patience, max_failures=options.max_failures)
        replicate = functools.partial(replicate_front, plan, options.replicates) if options.replicates else None
        ending = Ending(screen, plan.request.runs, plan.request.name)

        def draw(outcome: str, tracking_uri: str | None) -> None:
            live.close()  # from now on the page is the final one
            if outcome != "interrupted":
                _draw_own_figures(plan, screen)
            ending.draw(outcome, tracking_uri)
            live.leave()

        with matplotlib.rc_context(), LiveReport(plan.request.directory) as live:  # figures set their own style
            result = run_study(
                plan,
                screen,
                cluster,
                draw=draw,
                tracking_uri=options.tracking_uri,
                limits=limits,
                enqueue_extra=replicate,
            )
            ending.show()
        return result, plan.request.directory


def load_object(space: SearchSpace) -> LoadedSpace:
    """A space that is an object, with its code; if it is the `SPACE` of an imported file, with that whole file.

    Raises:
        UserError: Its code is not at hand, so that a change of it could not be noticed, or that trials need.
    """
    path, code = file_of(space.suggest), code_of_space(space)
    if path is None or code is None:
        raise UserError("the code of this SearchSpace is not at hand: define its functions in a file or a notebook")
    module = sys.modules.get(getattr(space.suggest, "__module__", ""))
    whole = gather(path) if path.is_file() and getattr(module, "SPACE", None) is space else None
    if space.components and whole is None:
        raise UserError(
            "this SearchSpace has components of its own, which other processes must import: define it as SPACE in a "
            'file, and give the path; in a script, put the call under `if __name__ == "__main__":`; in a notebook, '
            "begin the cell with %%writefile my_space.py"
        )
    if whole is not None and (space.components or module is not sys.modules["__main__"]):
        return LoadedSpace(path.stem, whole, space)
    part = Source(path, {path.name: code})
    if not path.is_file():
        return LoadedSpace("notebook", part, space)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem)
    return LoadedSpace(name, part, space, None if whole is None else whole.files[path.name])


@contextlib.contextmanager
def planned(options: Options, command: str, *, joins: bool) -> Iterator[tuple[Plan, Cluster]]:
    """The plan of a study and the cluster for it, which is left at the end.

    Ray starts on this thread, because its processes end with the thread that started them, while another imports.
    """
    from study.disk.layout import STUDY_NAME, check_is_there

    options.check_ranges()
    check_packages()
    check_working_directory()
    loaded = load_space(options.space) if isinstance(options.space, str) else load_object(options.space)
    data = options.data or loaded.space.default_data
    dataset = data if isinstance(data, str) else data.name
    name = options.name or default_name(loaded, dataset)
    if not STUDY_NAME.fullmatch(name):
        raise UserError(
            f"--study {name}: use at most 100 letters, digits, dots, - and _, and begin with a letter or digit"
        )
    runs = options.runs_dir.expanduser().absolute()
    if options.resume and not options.create:
        check_is_there(runs, name)
    importing = threading.Thread(target=_import_the_rest, name="imports", daemon=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_told_interrupt(runs / name))
        with quick_imports():
            importing.start()
            from study.tuning.cluster import Cluster, Resources

            resources = Resources(
                cpus=options.cpus_per_trial, gpus=options.gpus_per_trial, max_concurrent=options.max_concurrent
            )
            cluster = stack.enter_context(Cluster(options.address, resources))
            if joins and _has_trials_to_train(runs / name, options.resume):
                cluster.join()
            importing.join()
            from study.session.plan import Request, make_plan

        asked = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(Request)}
        own = None if isinstance(data, str) else data
        if own is not None and options.image_size is not None:
            raise UserError("image_size: data that are given as an object keep their size; resize them before")
        changes = {"loaded": loaded, "name": name, "runs": runs, "dataset": dataset, "data": own, "command": command}
        yield make_plan(Request(**{**asked, **changes})), cluster


@contextlib.contextmanager
def _told_interrupt(directory: Path) -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into KeyboardInterrupt, so that all is left in order; says how to go on.

    A study at work defers them, see `study.session`; this is for before and after, such as while Ray starts.
    """
    from study.disk.layout import study_path
    from study.tuning.interrupts import Interrupts

    with Interrupts():
        try:
            yield
        except KeyboardInterrupt:
            begun = study_path(directory).is_file()
            how = "add --resume to continue the study" if begun else "the study had not begun, run the command again"
            print(f"interrupted: {how}", file=sys.stderr)
            raise


def _has_trials_to_train(directory: Path, resume: bool) -> bool:
    """A quick guess whether Ray is needed; if it is wrong, Ray starts later, when the plan asks for it."""
    from study.disk.lock import living_driver
    from study.disk.study_json import read_study

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


def _draw_own_figures(plan: Plan, screen: Console) -> None:
    from study.found import load_study
    from study.own_figures import draw_own_figures

    if figures := plan.request.loaded.space.own.of_kind("figure").values():
        for line in draw_own_figures(figures, load_study(plan.request.directory)):
            screen.print(line, soft_wrap=True, highlight=False, markup=False)


def built(plan: Plan) -> list[Mapping[str, Any]]:
    """The first trials, after their models could be built."""
    from study.session.first_models import build_models
    from study.session.plan import first_configs

    if names := plan.request.loaded.space.own.of_kind("figure"):
        from analysis.reporting.figures import FIGURES

        if taken := sorted(names.keys() & FIGURES.keys()):
            raise UserError(f"components: there is a built-in figure {taken[0]!r}; give yours another name")
    configs = first_configs(plan, limit=SHOWN_TRIALS)
    build_models(configs, plan.data.summary, plan.request.loaded.space)
    return configs


def default_name(loaded: LoadedSpace, dataset: str) -> str:
    """The name of a study that was given none."""
    if dataset == "digits" or [dataset] == [*loaded.space.own.of_kind("dataset")]:
        return loaded.name
    kind, _, path = dataset.partition(":")
    suffix = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).name) if path else kind
    return f"{loaded.name}-{suffix}"
