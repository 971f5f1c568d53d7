"""Runs studies of autoencoders, and shows what they found: every command of this project in one.

    study run wae_weight

Each is also a module: `study run` is `python -m study.run`, `study figure tradeoff` is `python -m analysis.tradeoff`.
"""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from study.cli import VersionOption, build_command, finish, main_status
from study.config import UserError
from study.packages import check_packages


class Entry(NamedTuple):
    """Where a command's function is, and what the command does, in a few words."""

    module: str
    function: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "run": Entry("study.run", "run", "Run a study, or resume one."),
    "slurm": Entry("study.slurm", "slurm", "Submit a study to Slurm."),
    "status": Entry("study.status", "main", "Show where a study stands."),
    "control": Entry("study.control", "control", "Steer a running study: pause, limits, ranges."),
    "doctor": Entry("study.doctor", "doctor", "Check the installation and a study."),
    "sync": Entry("study.sync", "main", "Write into MLflow what it lacks of a study."),
    "export": Entry("study.export", "export", "Write a trained model to take away."),
    "sample": Entry("study.sample", "sample", "Draw images from a trained model."),
    "traverse": Entry("study.traverse", "traverse", "Walk through a trained model's latent space."),
    "retrain": Entry("study.retrain", "retrain", "Train a trial again, for more epochs."),
    "report": Entry("analysis.report", "report", "Write the results as one HTML page."),
    "figure": Entry("study.command", "", "Draw one figure; --list shows which there are."),
    "spaces": Entry("study.command", "spaces", "List the search spaces with their questions."),
}
_OWN_FUNCTIONS = {"reconstruction_history": "history", "latent_table": "latent_table"}
"""Figures whose command is not the one that the others share."""


def spaces() -> int:
    """Lists the search spaces with their questions."""
    from study.run import print_spaces

    return print_spaces()


def figures() -> dict[str, Entry]:
    """The figures by name. None is imported, since each imports matplotlib."""
    import analysis

    files = (
        Path(folder) / f"{module.name}.py" for folder in analysis.__path__ for module in pkgutil.iter_modules([folder])
    )
    found = {}
    for file in (file for file in files if file.is_file() and file.stem != "report"):
        sentence = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
        found[file.stem] = Entry(f"analysis.{file.stem}", _OWN_FUNCTIONS.get(file.stem, ""), " ".join(sentence.split()))
    return found


class _LazyGroup(TyperGroup):
    """A group whose commands are imported when they are used. Help and completion show stand-ins for them."""

    entries: Mapping[str, Entry] = {}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] not in self.entries and not args[0].startswith("-"):
            raise UserError(f"{ctx.command_path} has no {args[0]!r}: choose from {', '.join(self.entries)}")
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, stand_in if name is None else _command(name, self.entries[name]), rest


def _group(entries: Mapping[str, Entry], help: str, callback: Any, completion: bool) -> _LazyGroup:
    app = typer.Typer(
        cls=_LazyGroup, add_completion=completion, pretty_exceptions_enable=False, rich_markup_mode=None, help=help
    )
    app.callback()(callback)
    group: Any = typer.main.get_command(app)
    group.entries = entries
    group.commands = {name: TyperCommand(name, help=entry.summary) for name, entry in entries.items()}
    return group


def _command(name: str, entry: Entry) -> Any:
    """The real command."""
    check_packages()
    if entry.module == "study.command" and not entry.function:
        return _group(figures(), "Draws one figure of a study: study figure NAME --study STUDY.", _figure, False)
    module = importlib.import_module(entry.module)
    if entry.function:
        return build_command(getattr(module, entry.function))
    from analysis.plotting.command import figure_command

    return build_command(figure_command(module.info, module.plot, f"{name}.png"))


def _show_figures(wanted: bool) -> None:
    if wanted:
        found = figures()
        width = max(map(len, found))
        for name, entry in found.items():
            typer.echo(f"{name:{width}}  {entry.summary}")
        raise typer.Exit


def _main(version: VersionOption = False) -> None:
    """What comes before the command's name."""


def _figure(
    show: Annotated[
        bool,
        typer.Option(
            "--list", is_eager=True, expose_value=False, callback=_show_figures, help="List the figures and exit."
        ),
    ] = False,
) -> None:
    """What comes before the figure's name."""


@functools.cache
def program() -> _LazyGroup:
    """The whole command as Click knows it."""
    return _group(COMMANDS, __doc__ or "", _main, True)


def main() -> None:
    """Runs the command and exits, see `study.cli.run_command`."""
    arguments = sys.argv[1:] or ["--help"]
    if arguments[0] == "run":
        from study.run import with_default_replicates

        arguments = with_default_replicates(arguments)
    finish(main_status(lambda: program().main(args=arguments, prog_name="study", standalone_mode=False)))
