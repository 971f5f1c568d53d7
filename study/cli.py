"""What every command shares: options are typer's, errors are one line, exit codes are the contract's."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from study.config import UserError
from study.disk.files import disk_error_reason

StudyOption = Annotated[str, typer.Option("--study", help="The study's name.")]
TrialOption = Annotated[int | None, typer.Option(min=0, help="The trial of this number.")]
KneeOption = Annotated[bool, typer.Option("--knee", help="The knee of the Pareto front. [default]")]
MaxMseOption = Annotated[
    float | None, typer.Option(help="The best trial of the front whose val/reconstruction_mse is at most this.")
]
RunsOption = Annotated[Path, typer.Option(help="Where studies lie.")]

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def run_command(function: Callable[..., int | None], arguments: list[str] | None = None) -> None:
    """Runs a typer function as a program and exits: 0 done, 1 failed, 2 bad usage in one line, 130 interrupted."""
    status = command_status(function, arguments)
    # Python would look for garbage among all there is, a second for torch, Ray and pandas. Where torch's compiler has
    # been imported it must: its bindings complain about what is left.
    if "triton" not in sys.modules:
        gc.freeze()
    sys.exit(status)


def command_status(function: Callable[..., int | None], arguments: list[str] | None = None) -> int:
    """As `run_command`, but gives the exit status back."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    command: Any = typer.main.get_command(app)
    try:
        status = command.main(args=arguments, standalone_mode=False)
    except typer.TyperException as error:
        describe = getattr(error, "format_message", error.__str__)  # usage errors name the option at fault
        return _fail(describe())
    except UserError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        why = disk_error_reason(error)
        if why is None:
            raise
        return _fail(f"{why}: make room or give permission, or choose another place")
    return status if isinstance(status, int) else DONE


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return USAGE
