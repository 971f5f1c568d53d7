"""The documents: no dead link, a short README, and commands that the code accepts."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import re
import runpy
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.core import TyperCommand

from study.data.datasets import DATASETS, READERS
from study.space import SearchSpace, load_space
from tests.helpers_study import make_study
from tests.test_architecture import MAY_IMPORT

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md"),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))),
]
LONGEST_README = 9_500
OWN_SPACE = "my_question.py"
"""The search space that the README has one write."""

NOT_RUN = {
    "python -m study.run": "trains for minutes or hours; tests/test_run.py runs small studies",
    "python -m study.slurm": "needs Slurm; tests/cluster/test_slurm.py runs it",
    "python -m study.retrain": "trains; tests/test_retrain.py runs it",
    "python -m study.control": "needs a study under way; tests/test_run_control.py steers some",
    "python -m study.export": "logs a model to MLflow, which takes seconds; tests/test_export.py runs it",
    "python -m study.sample": "needs a trained model; tests/test_sample.py runs it",
    "python -m study.traverse": "needs a trained model; tests/test_traverse.py runs it",
    "python -m study.sync": "sets up an MLflow store, which takes seconds; tests/tracking runs it",
    "python -m study.doctor": "its result depends on the machine; tests/test_doctor.py runs it",
    "python -m analysis.NAME": "stands for the command of any figure",
    "python -m benchmarks.": "measures for minutes or hours",
    "python -m pytest": "runs tests, some of them for 40 minutes",
    "python3 -m venv": "makes an environment",
    "optuna-dashboard": "serves until it is stopped; tests/browser/test_optuna_dashboard.py opens it",
    "pip": "installs packages, or asks an index about them",
    "make": "sets up its own environment, and some targets run for hours",
    ".venv/bin/pre-commit": "changes the clone's hooks",
    "sed": "writes a file for pip-audit",
    ".": "changes the shell",
    "export": "changes the shell",
    "docker": "needs a Docker engine and several containers; tests/cluster/test_engine.py runs some",
    "install -d": "makes secrets; the next two belong to it",
    "for name": "see above",
    "chmod": "see above",
    "printf": "writes settings",
    "sh /app/deploy/ray-node.sh": "starts a node of a cluster within an image",
    "ssh": "needs another machine",
    "mount": "needs a file server",
    "mkdir": "makes folders for MPS and for containers",
    "echo quit": "needs a running MPS service",
    "nvidia-cuda-mps-control": "needs an NVIDIA GPU",
}
"""Beginnings of commands that no test can run quickly on one machine, and why. Their options are checked anyway."""

RUN = ("--list", "--dry-run", "--help")
"""Options that make any command cheap enough to be run."""


class Command(NamedTuple):
    """A command in a document, without comments and without variables set before it."""

    document: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)

    @property
    def module(self) -> str:
        """The module of ours that Python runs, or ""."""
        words = (*self.words, "", "")
        ours = words[:2] == ("python", "-m") and words[2].partition(".")[0] in ("study", "analysis", "benchmarks")
        return words[2] if ours else ""

    @property
    def options(self) -> tuple[str, ...]:
        """The options of a module of ours. The text may also just name a command, without any."""
        return self.words[3:] if self.module else ()

    @property
    def is_run(self) -> bool:
        """Whether the command is cheap."""
        expensive = any(str(self).startswith(start) for start in NOT_RUN)
        return bool(self.options) and (not expensive or any(word in RUN for word in self.options))

    def values(self, option: str) -> list[str]:
        """The values given for an option."""
        return [value for word, value in zip(self.words, self.words[1:], strict=False) if word == option]


@functools.cache
def _text(document: str) -> str:
    return (ROOT / document).read_text()


def _blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _text(document), flags=re.DOTALL | re.MULTILINE)


def _prose(document: str) -> str:
    without_fences = re.sub(r"^```.*?^```", "", _text(document), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^    .*$", "", without_fences, flags=re.MULTILINE)


def _commands(document: str) -> Iterator[Command]:
    """Every line of a block of shell, and inline code that begins like a command."""
    lines = [line for block in _blocks(document, "sh") for line in block.replace("\\\n", " ").splitlines()]
    starts = r"python3? -m \w|pip |make |docker |ssh |mlflow |\.venv/bin/"
    lines += [code for code in re.findall(r"`([^`\n]+)`", _prose(document)) if re.match(starts, code)]
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|")
        lexer.whitespace_split = True
        parts: list[list[str]] = [[]]
        for word in lexer:
            if set(word) <= {"&", "|"}:
                parts.append([])
            elif parts[-1] or not re.fullmatch(r"[A-Z_]+=\S*", word):
                parts[-1].append(word)
        for part in filter(None, parts):
            yield Command(document, tuple(part))
            if "python" in part[1:]:  # within a container
                yield Command(document, tuple(part[part.index("python") :]))


COMMANDS = [command for document in DOCUMENTS for command in _commands(document)]
DISTINCT = {command.words: command for command in COMMANDS}.values()
CHEAP = [command for command in DISTINCT if command.is_run]
EXPENSIVE = [command for command in DISTINCT if command.options and not command.is_run]


def _status(module: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The exit status of `python -m module ...`, run in this process."""
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    return ended.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the studies that the commands name, and the README's search space."""
    path = tmp_path_factory.mktemp("documents")
    for name in {name for command in CHEAP for name in command.values("--study")}:
        make_study(path / "runs", name, trials=12, arrays=True)
    (space,) = (block for block in _blocks("README.md", "python") if "SPACE = " in block)
    (path / OWN_SPACE).write_text(space)
    shutil.copytree(ROOT / "examples", path / "examples")
    return path


@pytest.mark.parametrize("command", CHEAP, ids=str)
def test_a_command_runs(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert _status(command.module, command.options, monkeypatch) in (None, 0)


def test_commands_that_are_not_run_have_a_reason() -> None:
    for command in (command for command in COMMANDS if not command.is_run and (command.options or not command.module)):
        assert any(str(command).startswith(start) for start in NOT_RUN), f"{command.document}: {command}"
    assert all(any(str(command).startswith(start) for command in COMMANDS) for start in NOT_RUN)


def test_every_module_exists() -> None:
    for command in (command for command in COMMANDS if command.module and not command.module.endswith(".NAME")):
        assert importlib.util.find_spec(command.module), f"{command.document}: {command}"


@pytest.mark.parametrize("command", EXPENSIVE, ids=str)
def test_the_options_of_a_command_exist(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser: argparse.ArgumentParser, *_: Any) -> None:
        parse(parser)
        raise SystemExit(0)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr(TyperCommand, "invoke", lambda self, context: None)
    if command.module.startswith("benchmarks."):
        source = ROOT.joinpath(*command.module.split(".")).with_suffix(".py").read_text()
        readers = ("parse_args(", "data_sets.run(", "run_command(")
        assert any(reader in source for reader in readers), "a benchmark without options, which would run"
    assert _status(command.module, command.options, monkeypatch) in (None, 0)


def test_spaces_and_data_sets_exist() -> None:
    for command in COMMANDS:
        for space in (*command.values("--space"), *(word[6:] for word in command.words if word.startswith("SPACE="))):
            assert space.removeprefix("data/") in (OWN_SPACE, "NAME") or _space(space), command
        own = {
            name for space in command.values("--space") if space.startswith("examples/") for name in _own_data(space)
        }
        for dataset in command.values("--dataset"):
            assert dataset in DATASETS or dataset.partition(":")[0] in READERS or dataset in own, command


def _space(name: str) -> SearchSpace:
    return load_space(str(ROOT / name) if name.endswith(".py") else name).space


def _own_data(space: str) -> set[str]:
    return set(_space(space).own.of_kind("dataset"))


def test_targets_and_variables_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in (command for command in COMMANDS if command.words[0] == "make"):
        for word in command.words[1:]:
            name, equals, _ = word.partition("=")
            expected = rf"\$\({name}\)" if equals else rf"^{re.escape(name)}:"
            assert re.search(expected, makefile, flags=re.MULTILINE), command


def test_the_whole_script_in_the_document_is_the_one_that_a_test_runs() -> None:
    assert _text("examples/first_study.py") in _blocks("docs/python.md", "python")


def test_the_readme_is_short() -> None:
    assert len(_text("README.md")) < LONGEST_README


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_anchors_exist(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(document)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = ((ROOT / document).parent / name).resolve() if name else ROOT / document
        assert path.exists() and path.is_relative_to(ROOT), f"{document}: {target}"
        if anchor:
            assert anchor in _anchors(path.read_text()), f"{document}: {target}"


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_room_is_explained() -> None:
    for room in (room for room in MAY_IMPORT if (ROOT / room.replace(".", "/") / "__init__.py").exists()):
        assert f"| `{room.replace('.', '/')}/` |" in _text("CONTRIBUTING.md"), room


def test_every_document_says_what_it_is_for() -> None:
    for document in (name for name in DOCUMENTS if name.startswith("docs/")):
        assert "\n\nThis document " in _text(document), document


def test_every_document_is_in_the_readme() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+)", _text("README.md")))
    assert linked >= {document for document in DOCUMENTS if document != "README.md"}
