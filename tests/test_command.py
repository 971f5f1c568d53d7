"""The command `study`: its names, its laziness, its errors and what it records."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from analysis.plotting.command import options_of
from analysis.reporting.figures import FIGURES
from study import cli, command
from tests.helpers_study import make_study
from tests.test_commands import command_of

ROOT = Path(__file__).parents[1]
ALL = [
    "run",
    "slurm",
    "status",
    "control",
    "doctor",
    "sync",
    "export",
    "sample",
    "traverse",
    "retrain",
    "report",
    "figure",
    "spaces",
]
FIGURE_NAMES = sorted({*FIGURES, "latent_table"})


def study(*arguments: object) -> int:
    return cli.main_status(
        lambda: command.program().main(args=[str(part) for part in arguments], prog_name="study", standalone_mode=False)
    )


def options(click_command) -> list[tuple[str, ...]]:
    return [(parameter.name, *parameter.opts) for parameter in click_command.params]


def real(name: str, *, of: str | None = None):
    """The command that a name leads to."""
    group = command.program() if of is None else real(of)
    context = group.make_context("study", ["--help"], resilient_parsing=True)
    return group.resolve_command(context, [name])[1]


def test_the_console_script_is_this_command() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"study": "study.command:main"}
    assert list(command.COMMANDS) == ALL


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("figure", "spaces")])
def test_a_command_is_that_of_its_module(name: str) -> None:
    assert options(real(name)) == options(command_of(command.COMMANDS[name].module))


@pytest.mark.parametrize("name", FIGURE_NAMES)
def test_a_figure_is_the_command_of_its_module(name: str) -> None:
    assert options(real(name, of="figure")) == options(command_of(f"analysis.{name}"))


def test_the_figures_are_listed_with_what_they_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert study("figure", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == FIGURE_NAMES
    assert all(line.rstrip()[-1] in ".?" for line in lines)


def test_a_figure_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(tmp_path / "runs", trials=12)
    monkeypatch.chdir(tmp_path)
    assert study("figure", "tradeoff", "--study", "toy", "--out", "mine.svg") == 0
    assert (tmp_path / "mine.svg").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "study has no 'rnu': choose from run, slurm, status"),
        (["figure", "nope"], "study figure has no 'nope': choose from collapse,"),
        (["run", "wae_weight", "--space", "method"], "wae_weight and --space method: name one search space"),
        (["run", "nope"], "no search space 'nope': choose from"),
        (["status", "--study", "nope"], "no study 'nope'"),
        (["run", "--num-trials", "0"], "'--num-trials': Input should be greater than or equal to 1"),
    ],
)
def test_an_error_is_one_line(words: list[str], message: str, capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert study(*words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def run_main(code: str, **environment: str) -> str:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    return done.stdout


MAIN = """
import sys
from study.command import main
sys.argv = ["study", *{words!r}]
try: main()
except SystemExit: pass
"""
SLOW = "print(sorted({'torch', 'ray', 'optuna', 'mlflow', 'matplotlib', 'rich', 'pandas'} & set(sys.modules)))"


@pytest.mark.parametrize("words", [["--help"], [], ["figure", "--list"], ["--version"]])
def test_help_and_lists_import_no_large_library(words: list[str]) -> None:
    assert run_main(MAIN.format(words=words) + SLOW).splitlines()[-1] == "[]"


def test_the_shell_completes_names_and_options() -> None:
    def completed(words: str) -> list[str]:
        position = str(len(words.split(" ")) - 1)
        shell = {"_STUDY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": position}
        return run_main(MAIN.format(words=[]), **shell).split()

    assert completed("study s") == ["slurm", "status", "sync", "sample", "spaces"]
    assert completed("study run --sam") == ["--sampler"]
    assert completed("study run --sampler n") == ["nsga2", "nsga3"]
    assert completed("study figure trade") == ["tradeoff"]


@pytest.mark.parametrize(
    ("program", "typed"),
    [
        ("/venv/bin/study", "study run wae_weight"),
        ("/venv/lib/study/__main__.py", "python -m study run wae_weight"),
        ("/venv/lib/study/run.py", "python -m study.run run wae_weight"),
    ],
)
def test_the_record_holds_what_was_typed(program: str, typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "run", "wae_weight"])
    assert " ".join(cli.typed_command("study.run")) == typed


def test_replicates_may_stand_alone(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["study", "run", "--replicates", "--list"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 0 and "wae_weight: " in capsys.readouterr().out


def test_only_figures_of_pairs_take_a_pair() -> None:
    taking = {name for name, spec in FIGURES.items() if "pair" in options_of(spec.module.info)}
    assert taking == {"interpolations", "morphs"}
