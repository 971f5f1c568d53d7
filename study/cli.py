"""What every command shares: its options, its help, its one-line errors and its exit codes."""

from __future__ import annotations

import gc
import importlib.metadata
import inspect
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from study.config import UserError
from study.disk.files import disk_error_reason
from study.ranges import RANGES

if TYPE_CHECKING:
    from rich.console import Console


def _within(context: typer.Context, parameter: typer.CallbackParam, value: float | None) -> float | None:
    """Refuses a number outside its range; Click's own check lets NaN and open ends pass."""
    allowed = RANGES[str(parameter.name)]
    if value is not None and not allowed.holds(value):
        raise typer.BadParameter(f"{value} is not in its range: it must be {allowed}")
    return value


def ranged(name: str, *, default: str | bool = True, help: str) -> Any:
    """An option `--name` whose values lie in `RANGES[name]`.

    Args:
        name: Its parameter's name.
        default: How the help describes the default; by default as it is.
        help: What it does.
    """
    allowed = RANGES[name]
    lowest = None if allowed.is_open else allowed.low
    return typer.Option(help=help, show_default=default, callback=_within, min=lowest)


StudyOption = Annotated[str, typer.Option("--study", "--name", help="Name of the study.")]
TrialOption = Annotated[
    int | None, typer.Option(min=0, help="Number of the trial.", show_default="the recommended one")
]
KneeOption = Annotated[
    bool, typer.Option("--knee", help="Take the recommended trial: a clear knee, else the compromise. [default]")
]
NearlyBestOption = Annotated[
    str | None,
    typer.Option(metavar="METRIC", help="Take the pick that is nearly the best in this objective, such as sample_fid."),
]
MaxMseOption = Annotated[
    float | None,
    typer.Option(
        help="Take the Pareto-optimal trial with the best samples whose val/reconstruction_mse is at most this."
    ),
]
RunsOption = Annotated[Path, typer.Option(help="Folder that holds the studies.")]
DataOption = Annotated[Path | None, typer.Option(help="Folder that holds the data sets, laid out as by torchvision.")]
TrackingOption = Annotated[
    str | None,
    typer.Option(help="MLflow tracking URI.", show_default="MLFLOW_TRACKING_URI, else mlflow.db in --runs-dir"),
]
AddressOption = Annotated[
    str | None,
    typer.Option(help="A running Ray cluster, HOST:PORT or auto.", show_default="Ray on this machine"),
]
MaxFailuresOption = Annotated[int, ranged("max_failures", help="Retries of a trial whose process died.")]
CpusOption = Annotated[float, ranged("cpus_per_trial", help="CPU cores for each trial.")]
GpusOption = Annotated[
    float, ranged("gpus_per_trial", help="GPUs for each trial; 0.25 puts four on one GPU, 2 trains each on two.")
]

DISTRIBUTION = "autoencoder-tradeoff-study"
PROJECT_FILE = Path(__file__).parents[1] / "pyproject.toml"
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def run_command(function: Callable[..., int | None], arguments: list[str] | None = None) -> None:
    """Runs a function as a program and exits: 0 done, 1 failed, 2 bad usage in one line, 130 interrupted."""
    finish(command_status(function, arguments))


def finish(status: int) -> NoReturn:
    """Ends this process quickly."""
    # At exit Python collects garbage among everything that torch, Ray and pandas loaded, which takes a second. Once
    # torch's compiler is imported this must not be skipped: its bindings complain about what is left.
    if "triton" not in sys.modules:
        gc.freeze()
    sys.exit(status)


def command_status(function: Callable[..., int | None], arguments: list[str] | None = None) -> int:
    """Like `run_command`, but returns the exit status."""
    return main_status(lambda: build_command(function).main(args=arguments, standalone_mode=False))


def main_status(main: Callable[[], Any]) -> int:
    """Runs the program of a Click command; returns its exit status, and prints an error in one line."""
    try:
        status = main()
    except typer.TyperException as error:
        describe = getattr(error, "format_message", error.__str__)  # usage errors name the option at fault
        return _fail(describe().replace("Value error, ", ""))
    except UserError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as end:  # Click's answer to a closed pipe, without a word
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        _fail("the reader of the output has closed its pipe, so the command ended early: write into a file instead")
        return FAILED
    except Exception as error:  # a full or read-only disk shows itself by many; the others go on
        why = disk_error_reason(error)
        if why is None:
            raise
        return _fail(f"{why}: make room or give permission, or choose another place")
    return status if isinstance(status, int) else DONE


def typed_command(module: str) -> list[str]:
    """The command line of this process as it was typed, for `python -m MODULE` or the command `study`."""
    program = Path(sys.argv[0])
    if program.name == "study":
        start = ["study"]
    elif program.parts[-2:] == ("study", "__main__.py"):
        start = ["python", "-m", "study"]
    else:
        start = ["python", "-m", module]
    return [*start, *sys.argv[1:]]


def build_command(function: Callable[..., int | None]) -> Any:
    """A function as a Click command with `--version`; its module's docstring is the help text."""
    command = _typer_command(function, help=_help(inspect.getmodule(function)))
    command.params += _typer_command(_version).params
    return command


def console() -> Console:
    """A console that prints text as it is: Rich would take [brackets] in a name for markup."""
    from rich.console import Console  # slow to import, and --help does without

    return Console(markup=False, highlight=False)


def project_version() -> str:
    """The version of this project; an image has the project's files without installing it."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return tomllib.loads(PROJECT_FILE.read_text())["project"]["version"]


def _typer_command(function: Callable[..., Any], help: str | None = None) -> Any:
    # Without rich_markup_mode=None, text in [brackets] would vanish from the help.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(help=help)(function)
    return typer.main.get_command(app)


def _help(module: Any) -> str:
    # \b keeps Click from wrapping a paragraph: an example must stay on its line.
    return re.sub(r"(?<=\n\n)(?= *python -m )", "\b\n", module.__doc__ or "")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(project_version())
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", is_eager=True, expose_value=False, callback=_show_version, help="Show the version and exit."
    ),
]


def _version(version: VersionOption = False) -> None:
    """The option that every command has."""


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return USAGE
