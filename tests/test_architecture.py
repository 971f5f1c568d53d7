"""The rooms and the one way between them (see CONTRIBUTING): what each may import, and what each must not know."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("study", "search_spaces", "analysis", "benchmarks", "tests")
LONGEST_MODULE = 320
"""Lines; a longer module has more than one idea in it."""

_PLAIN = {"study.config", "study.errors", "study.components", "study.built_in", "study.code_map", "study.changes"}
"""What a trial is, in words that every room uses; no large library."""
_BASE = {*_PLAIN, "study.grid", "study.ranges", "study.source", "study.space", "study.space_code", "study.weights"}
_MATHEMATICS = {"study.data", "study.model"}
_COMPONENTS = tuple(f"study.model.{room}" for room in ("networks", "regularizers", "likelihoods", "schedules"))
_COMMANDS = ("run", "slurm", "retrain", "status", "control", "doctor", "sync", "export", "sample")
MAY_IMPORT: dict[str, set[str]] = {
    "study.ranges": set(),
    "study.changes": {"study.ranges"},
    "study.errors": set(),
    "study.components": {"study.errors"},
    "study.objects": set(),
    "study.built_in": {"study.components"},
    "study.code_map": {"study.built_in", "study.errors"},
    "study.weights": {*_PLAIN},
    "study.config": {"study.ranges", *_PLAIN},
    "study.source": {"study.errors"},
    "study.space_code": set(),
    "study.grid": {"study.errors"},
    "study.space": {*_BASE, "search_spaces"},
    "study.packages": {*_PLAIN},
    "search_spaces": _BASE,
    "study.disk": _BASE,
    "study.cli": {*_PLAIN, "study.ranges", "study.disk"},
    "study.data": {*_PLAIN},
    "study.model": {*_PLAIN, "study.priors", "study.data.pixels"},
    **{key: {*_PLAIN, "study.model"} for key in _COMPONENTS},
    "study.priors": {*_PLAIN},
    "study.measure": {*_PLAIN, "study.source", "study.space", "study.disk", *_MATHEMATICS, "study.priors"},
    "study.training": {*_PLAIN, "study.disk", *_MATHEMATICS, "study.measure"},
    "study.search": {*_BASE, "study.disk", "study.measure.metrics", "study.results.pareto"},
    "study.results": {*_PLAIN, "study.disk", "study.measure.metrics"},
    "study.tracking": {*_PLAIN, "study.disk", "study.results"},
    "study.watching": {*_PLAIN, "study.disk", "study.measure.metrics", "study.results"},
    "study.checks": {
        *{*_PLAIN, "study.cli", "study.disk", "study.training", "study.tracking", "study.tuning"},
        "study.session.resuming",
    },
    "study.exporting": {
        *{*_BASE, "study.disk", "study.model", "study.priors", "study.training"},
        *{"study.results", "study.tracking"},
    },
    "study.tuning": {
        *{*_BASE, "study.disk", *_MATHEMATICS, "study.measure", "study.training", "study.search"},
    },
    "study.session": {
        *{*_BASE, "study.cli", "study.disk", *_MATHEMATICS, "study.priors", "study.measure", "study.search"},
        *{"study.results", "study.tracking", "study.tuning"},
    },
    "study.batch": {
        *{*_PLAIN, "study.space", "study.cli", "study.disk", "study.search.storage", "study.tuning.preflight"},
        *{"study.dry_run", "study.launch", "study.run"},
    },
    "analysis.plotting": {
        *_PLAIN,
        "study.cli",
        "study.disk",
        "study.measure.metrics",
        "study.results",
        "study.tracking",
    },
    "analysis.reporting": {
        *{*_PLAIN, "study.disk", "study.results", "study.tracking"},
        *{"analysis.plotting", "analysis.explorer", "analysis"},
    },
    "analysis.explorer": {
        *{*_PLAIN, "study.measure.metrics", "study.results"},
        *{"analysis.plotting", "analysis"},
    },
    "analysis": {
        *{*_PLAIN, "study.cli", "study.disk", "study.measure.metrics", "study.results", "study.tracking"},
        *{"analysis.plotting", "analysis.reporting"},
    },
    **{f"study.{command}": {"study", "analysis.reporting"} for command in _COMMANDS},
    "study.traverse": {"study", "analysis.plotting"},
    "study.command": {"study", "analysis"},
    "study.__main__": {"study"},
    "study.launch": {"study", "analysis.reporting"},
    "study.dry_run": {"study"},
    "study.own_figures": {"study.errors", "study.objects", "study.disk", "analysis.plotting"},
    "study.found": {"study", "analysis"},
    "study.api": {"study"},
    "study": {*_BASE, "study.objects", "study.api", "study.found", *_MATHEMATICS, "study.measure.metrics"},
    "benchmarks": {"study", "search_spaces", "analysis"},
    "tests": {"study", "search_spaces", "analysis", "benchmarks"},
}
"""Room -> what it may import beside itself. A module belongs to the longest name here that it begins with."""

_HEAVY = {"torch", "torchvision", "ray", "optuna", "mlflow", "pandas", "matplotlib"}
MAY_KNOW: dict[str, set[str]] = {
    "study.ranges": set(),
    "study.changes": set(),
    "study.errors": set(),
    "study.components": set(),
    "study.objects": set(),
    "study.built_in": set(),
    "study.weights": set(),
    "study.code_map": set(),
    "study.config": set(),
    "study.source": set(),
    "study.space_code": set(),
    "study.grid": set(),
    "study.packages": set(),
    "study.api": {"pandas"},
    "study": set(),
    "study.space": {"optuna"},  # for type checkers alone
    "search_spaces": {"optuna"},
    "study.disk": set(),
    "study.cli": set(),
    "study.data": {"torch", "torchvision"},
    "study.model": {"torch"},
    **{key: {"torch"} for key in _COMPONENTS},
    "study.priors": {"torch"},
    "study.measure": {"torch"},
    "study.training": {"torch"},
    "study.search": {"optuna"},
    "study.results": {"pandas"},
    "study.tracking": {"mlflow", "pandas"},
    "study.watching": set(),
    "study.batch": set(),
    "study.checks": {"torch", "torchvision"},
    "study.exporting": {"torch", "mlflow"},
    "study.tuning": {"ray", "torch", "optuna"},
    "study.session": {"optuna", "torch"},
    "analysis.plotting": {"pandas", "matplotlib"},
    "analysis.reporting": {"pandas", "matplotlib"},
    "analysis.explorer": set(),
    "analysis": {"pandas", "matplotlib", "optuna"},
}
"""Room -> the large libraries it may import. Commands, `study.launch`, `study.found` and benchmarks may import all."""


@functools.cache
def _modules() -> dict[str, Path]:
    files = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def _room(module: str) -> str:
    fitting = [room for room in MAY_IMPORT if module == room or module.startswith(room + ".")]
    return max(fitting, key=len)


@functools.cache
def _imported(module: str) -> set[str]:
    """The modules of ours, and the names of others, that a module imports anywhere, except for type checking alone."""
    tree = ast.parse(_modules()[module].read_text())
    checking = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in checking:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                names.add(name if name in _modules() else node.module)
    return names - {module}


def _ours(names: set[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] in PACKAGES}


@pytest.mark.parametrize("module", _modules())
def test_imports_go_one_way(module: str) -> None:
    room = _room(module)
    for name in _ours(_imported(module)):
        allowed = {room, *MAY_IMPORT[room]}
        is_allowed = _room(name) in allowed or any(name == other or name.startswith(f"{other}.") for other in allowed)
        assert is_allowed, f"{module} imports {name}, which {room} must not"


@pytest.mark.parametrize("room", MAY_KNOW)
def test_a_room_knows_no_other_large_library(room: str) -> None:
    for module in (name for name in _modules() if _room(name) == room):
        known = {name.partition(".")[0] for name in _imported(module)} & (_HEAVY - MAY_KNOW[room])
        assert not known, f"{module} imports {known}"


def test_every_package_is_a_room() -> None:
    packages = {name for name, path in _modules().items() if path.name == "__init__.py"}
    rooms = {name for name in packages if name.partition(".")[0] != "tests"}
    assert rooms == {room for room in MAY_IMPORT if room in packages and room != "tests"}
    commands = {name for name in _modules() if name.count(".") == 1 and name.startswith("study.") and name not in rooms}
    assert commands == {room for room in MAY_IMPORT if room.startswith("study.") and room not in rooms}


def test_no_circle_of_files() -> None:
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if module in path:
            yield (*path[path.index(module) :], module)
        elif module not in done:
            for name in sorted(_ours(_imported(module)) & _modules().keys()):
                yield from walk(name, (*path, module))
            done.add(module)

    circles = [circle for module in _modules() for circle in walk(module, ())]
    assert not circles, [" -> ".join(circle) for circle in circles]


@pytest.mark.parametrize("module", [name for name in _modules() if not name.startswith("tests")])
def test_modules_are_short(module: str) -> None:
    lines = len(_modules()[module].read_text().splitlines())
    assert lines <= LONGEST_MODULE, f"{module} has {lines} lines: split it by its ideas"


def test_package_files_hold_no_logic() -> None:
    for path in (path for path in _modules().values() if path.name == "__init__.py"):
        for node in ast.parse(path.read_text()).body:
            # TYPE_CHECKING and __getattr__: names whose modules need torch
            is_lazy = isinstance(node, ast.If | ast.FunctionDef) and path.parent.name == "study"
            assert is_lazy or isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign), path
