"""What holds for every command of study, analysis and benchmarks: help, example, version and names of options."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.metadata
import os
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import pytest
import typer

import analysis.plotting.command
from analysis.plotting import style
from study import cli, run
from study.search.samplers import SAMPLERS
from study.tuning.scheduler import SCHEDULERS

ROOT = Path(__file__).parents[1]
COMMANDS = [
    f"{package}.{path.stem}"
    for package in ("study", "analysis", "benchmarks")
    for path in sorted((ROOT / package).glob("*.py"))
    if '\nif __name__ == "__main__":' in path.read_text()
]
_BRACKETED = re.compile(r"\[[^\]]+\]")


@functools.cache
def command_of(module: str) -> Any:
    """The Click command that `python -m module` runs."""
    built: list[Any] = []

    def build(function: Callable[..., Any], arguments: list[str] | None = None) -> None:
        built.append(cli.build_command(function))

    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore", RuntimeWarning)  # runpy: the module may be imported already
        for home in (cli, analysis.plotting.command):
            stack.enter_context(mock.patch.object(home, "run_command", build))
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    [command] = built
    return command


def help_of(module: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    assert command_of(module).main(["--help"], prog_name=module, standalone_mode=False) == 0
    return capsys.readouterr().out


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("module", COMMANDS)
def test_help_begins_with_a_sentence_and_shows_an_example_that_parses(module: str, capsys, monkeypatch) -> None:
    shown = help_of(module, capsys, monkeypatch)
    docstring = ast.get_docstring(ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())) or ""
    sentence = one_line(docstring.partition("\n\n")[0])
    assert sentence[-1] in ".?" and f"{sentence} python -m {module}" in one_line(shown)
    examples = [line.strip() for line in shown.splitlines() if line.strip().startswith("python -m")]
    for example in examples:
        command_of(module).make_context(module, shlex.split(example)[3:])


@pytest.mark.parametrize("module", COMMANDS)
def test_help_shows_every_text_in_brackets_and_every_default(module: str, capsys, monkeypatch) -> None:
    shown = one_line(help_of(module, capsys, monkeypatch))
    for parameter in command_of(module).params:
        if parameter.hidden:
            continue
        assert parameter.help, f"{module}: {parameter.name} has no help"
        for text in _BRACKETED.findall(one_line(parameter.help)):
            assert text in shown
        if isinstance(parameter.show_default, str):
            assert f"default: ({parameter.show_default})" in shown


@pytest.mark.parametrize("module", COMMANDS)
def test_version(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_of(module).main(["--version"], standalone_mode=False) == 0
    assert capsys.readouterr().out.strip() == importlib.metadata.version(cli.DISTRIBUTION)


def test_an_image_knows_its_version_although_it_installs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cli.project_version()
    monkeypatch.setattr(cli, "DISTRIBUTION", "not-installed-anywhere")
    assert cli.project_version() == expected


@pytest.mark.parametrize("module", COMMANDS)
def test_the_name_of_a_study_is_study_or_name(module: str) -> None:
    for parameter in command_of(module).params:
        assert ("--study" in parameter.opts) == ("--name" in parameter.opts)


@pytest.mark.parametrize("module", [name for name in COMMANDS if name.startswith("study.")])
def test_help_is_quick(module: str) -> None:
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "slow = {'torch', 'ray', 'optuna', 'mlflow', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "option", "choices"),
    [
        ("study.run", "--scheduler", SCHEDULERS),
        ("analysis.tradeoff", "--format", style.FORMATS),
        ("analysis.reconstruction_history", "--format", ("gif", *style.FORMATS)),
    ],
)
def test_choices_are_listed_in_the_help_and_in_the_error(module, option, choices, capsys, monkeypatch) -> None:
    assert f"{option} <{'|'.join(choices)}>" in help_of(module, capsys, monkeypatch)
    with pytest.raises(typer.TyperException) as raised:
        command_of(module).main([option, "nope"], standalone_mode=False)
    assert all(choice in str(raised.value) for choice in choices)


def test_options_offer_what_there_is() -> None:
    assert (run.SAMPLERS, get_args(run.Scheduler)) == (SAMPLERS, SCHEDULERS)


def test_samplers_are_listed_in_the_help(capsys, monkeypatch) -> None:
    assert f"{', '.join(SAMPLERS)}, or module:Class." in " ".join(help_of("study.run", capsys, monkeypatch).split())


def test_names_in_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    cli.console().print("folder:/images/[red]/[axis]")
    assert capsys.readouterr().out == "folder:/images/[red]/[axis]\n"


def test_faults_met_a_pipe_that_closes_is_told() -> None:
    command = f"{shlex.quote(sys.executable)} -m study.run --list; echo status $? >&2"
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(["sh", "-c", command], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert result.stderr.splitlines() == [
        "error: the reader of the output has closed its pipe, so the command ended early: write into a file instead",
        "status 1",
    ]
