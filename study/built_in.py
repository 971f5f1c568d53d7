"""The built-in components: what their files say of themselves, and their classes.

A component is one class in one of `FOLDERS`, found by its place. Its class attributes (`name`, `methods`, …) are plain
values, so that they are read here from the source: commands and figures need them, and must not import torch as the
files do.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study.components import Components, Described

FOLDERS = {
    "network": "model/networks",
    "regularizer": "model/regularizers",
    "likelihood": "model/likelihoods",
    "annealing": "model/schedules",
}
"""Kind of component -> where its files lie, below this package."""


def classes_in(package: str) -> dict[str, Any]:
    """The component classes that the modules of a package define, by name and in the order of their names."""
    paths = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(paths)]
    classes = [found for module in modules for found in vars(module).values() if inspect.isclass(found)]
    return dict(sorted({found.__dict__["name"]: found for found in classes if "name" in found.__dict__}.items()))


def described_in(source: str, kind: str) -> Iterator[Described]:
    """What the component classes in a module's source say of themselves.

    Args:
        source: Text of the module.
        kind: Kind of its components.
    """
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and "name" in (said := _attributes(node)):
            options = dict(_options(node))
            types: Any = {name: type(value).__name__ for name, value in options.items()}
            known = {name: value for name, value in said.items() if name in Described.__dataclass_fields__}
            yield Described(kind=kind, types=types, defaults=options, **known)


def _attributes(node: ast.ClassDef) -> dict[str, Any]:
    """The class attributes that are plain values."""
    found: dict[str, Any] = {}
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and part.value and "ClassVar" in ast.unparse(part.annotation):
            found[ast.unparse(part.target)] = ast.literal_eval(part.value)
    return found


def _options(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """Name and default of each hyperparameter: an argument of the constructor, or a field of a dataclass."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            given, named = part.args.args[::-1], part.args.kwonlyargs
            pairs = [*zip(given, part.args.defaults[::-1], strict=False)][::-1]
            pairs += [(argument, value) for argument, value in zip(named, part.args.kw_defaults, strict=True) if value]
            yield from ((argument.arg, ast.literal_eval(default)) for argument, default in pairs)
        elif isinstance(part, ast.AnnAssign) and part.value and "ClassVar" not in ast.unparse(part.annotation):
            yield ast.unparse(part.target), ast.literal_eval(part.value)


def _read() -> Iterator[Described]:
    for kind, folder in FOLDERS.items():
        for path in sorted((Path(__file__).parent / folder).glob("*.py")):
            try:
                yield from described_in(path.read_text(encoding="utf-8"), kind)
            except ValueError as error:
                raise ValueError(f"{path}: class attributes and defaults must be plain values: {error}") from error


BUILT_IN = Components(tuple(sorted(_read(), key=lambda component: component.name)))
METHODS: dict[str, tuple[str, str]] = {
    method: (encoder, regularizer.name)
    for regularizer in sorted(
        BUILT_IN.of_kind("regularizer").values(), key=lambda r: (r.weight_range is not None, [*r.methods.values()])
    )
    for encoder, method in regularizer.methods.items()
}
"""Built-in method -> (encoder, regularizer): the pair defines the method, the name is for people. Those without a
penalty come first, then in the order of their names, each before its variant with the other encoder."""
