"""The rooms and the one way between them (see CONTRIBUTING): a module imports only what lies before it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BEFORE: dict[str, set[str]] = {
    "study.data": {"study.config"},
    "study.model": {"study.config"},
    "study.measure": {"study.config", "study.files", "study.data", "study.model"},
    "study.training": {"study.config", "study.data", "study.model"},
    "search_spaces": {"study.config", "study.space"},
}
FORBIDDEN: dict[str, set[str]] = {
    "study.data": {"ray", "optuna", "mlflow"},
    "study.model": {"ray", "optuna", "mlflow", "pandas"},
    "study.measure": {"ray", "optuna", "mlflow"},
    "study.training": {"ray", "optuna", "mlflow"},
    "study.config": {"torch", "ray", "optuna", "mlflow"},
    "study.space": {"torch", "ray", "mlflow"},
    "study.tracking": {"torch", "ray", "optuna"},
    "study.tuning": {"mlflow"},
    "search_spaces": {"torch", "ray", "mlflow"},
    "analysis": {"torch", "ray"},
}


def _modules(room: str) -> list[Path]:
    path = ROOT / room.replace(".", "/")
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def _imported(path: Path) -> set[str]:
    """Dotted names a module imports, wherever in it; imports for type checking alone do not count."""
    tree = ast.parse(path.read_text())
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
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_does_not_import_what_it_must_not_know(room: str) -> None:
    assert _modules(room)
    for path in _modules(room):
        known = {name.split(".")[0] for name in _imported(path)} & FORBIDDEN[room]
        assert not known, f"{path.relative_to(ROOT)} imports {known}"


@pytest.mark.parametrize("room", BEFORE)
def test_imports_go_one_way(room: str) -> None:
    allowed = BEFORE[room] | {room}
    for path in _modules(room):
        ours = {name for name in _imported(path) if _within(name, "study") or _within(name, "analysis")}
        wrong = {name for name in ours if not any(_within(name, other) for other in allowed) and name != "study"}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_package_files_hold_no_logic() -> None:
    rooms = ("study", "search_spaces", "analysis", "benchmarks", "tests")
    for path in (file for room in rooms for file in (ROOT / room).rglob("__init__.py")):
        for node in ast.parse(path.read_text()).body:
            assert isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign), path
