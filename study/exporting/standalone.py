"""Writes the `model.py` of an exported model: this project's own source, gathered into one file.

A program saved by `torch.export` is tied to the torch that wrote it, fixes one method and its shapes per file, and
cannot be read. A second, short implementation kept by hand would drift from the first. So the file ends with
`study.exporting.portable`, preceded by all definitions that it uses, as they are in their modules. Constants that hold
many components, such as `NETWORKS`, are given anew with those that are needed. Components of a space's own are gathered
from the study's copy of its code in the same way.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_Key = tuple[str, str]
"""A module and a name in it."""


@dataclasses.dataclass
class _Definition:
    """A top-level statement: the names it binds, its text, and the names it mentions."""

    names: list[str]
    text: str
    mentions: set[str]


@dataclasses.dataclass
class _Module:
    """A module's docstring, its definitions in order, and what it imports.

    Attributes:
        docstring: The text without quotes.
        definitions: In the order of the file.
        internal: Name -> the module of this project it comes from.
        external: Name -> (module or "", original name): `from module import name`, or `import name`.
    """

    docstring: str
    definitions: list[_Definition]
    internal: dict[str, str]
    external: dict[str, tuple[str, ast.alias]]


@dataclasses.dataclass(frozen=True)
class Given:
    """What the text holds in place of what the modules say.

    Attributes:
        constants: Constant of this project -> its value, as an expression.
        names: Name in those expressions -> the module that defines it.
        files: Module name -> file, of a space's own components and of the modules beside it.
    """

    constants: Mapping[str, str]
    names: Mapping[str, str]
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)


def standalone_source(given: Given, root: str = "study.exporting.portable") -> str:
    """The source of a module with everything it uses of this project, in one text.

    Args:
        given: What is said otherwise than in the modules.
        root: The module.

    Raises:
        ValueError: A module is written in a way that cannot be gathered. The message says where and what.
    """
    modules = dict(_modules(root, given, {}))
    wanted = _reachable(modules, root)
    texts: list[str] = []
    external: dict[str, tuple[str, ast.alias]] = {}
    owners: dict[str, str] = {}
    own_packages = {name.partition(".")[0] for name in given.files}
    for name, module in modules.items():
        for definition in module.definitions:
            if not any((name, bound) in wanted for bound in definition.names):
                continue
            for bound in definition.names:
                if owners.setdefault(bound, name) != name:
                    raise ValueError(f"{name} and {owners[bound]} both define {bound}: rename one")
            texts.append(definition.text)
            for mentioned in definition.mentions & module.external.keys():
                found = module.external[mentioned]
                if (home := found[0] or found[1].name).partition(".")[0] in own_packages:
                    raise ValueError(f"{name}: import names from {home} as they are, not {ast.unparse(found[1])!r}")
                other = external.setdefault(mentioned, found)
                if _full_name(*other) != _full_name(*found):
                    raise ValueError(f"{name} imports another {mentioned} than the modules before it: rename one")
    if clash := owners.keys() & external.keys():
        raise ValueError(f"{', '.join(sorted(clash))}: defined in one module, imported from elsewhere in another")
    head = [f'"""{modules[root].docstring}"""', "from __future__ import annotations", *_import_lines(external)]
    return "\n\n\n".join(["\n\n".join(head), *texts]) + "\n"


def _modules(name: str, given: Given, seen: dict[str, None]) -> Iterator[tuple[str, _Module]]:
    """A module and all that it imports of this project. Each comes after the modules it imports."""
    seen[name] = None
    module = _read(name, given)
    for dependency in dict.fromkeys(module.internal.values()):
        if dependency not in seen:
            yield from _modules(dependency, given, seen)
    yield name, module


def _read(name: str, given: Given) -> _Module:
    if name in given.files:
        source = given.files[name].read_text(encoding="utf-8")
    else:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ValueError(f"{name}: not a module")
        source = Path(spec.origin).read_text(encoding="utf-8")
    tree = ast.parse(source)
    module = _Module(ast.get_docstring(tree, clean=False) or "", [], {}, {})
    if name in given.files and any(isinstance(node, ast.Import) and _binds_study(node) for node in tree.body):
        source, tree = _without_prefix(source, tree, module)
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            _add_imports(module, node, name, given)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            text = "\n".join(source.splitlines()[first - 1 : node.end_lineno])
            module.definitions.append(_Definition([node.name], text, _mentions(node)))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            text = ast.get_source_segment(source, node) or ""
            if names and names[0] in given.constants and name not in given.files:
                node.value = ast.parse(given.constants[names[0]], mode="eval").body
                text = f"{names[0]} = {given.constants[names[0]]}"
                module.internal |= {known: given.names[known] for known in given.names.keys() & _mentions(node)}
            module.definitions.append(_Definition(names, text, _mentions(node)))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if module.definitions:  # the docstring of the assignment above it
                module.definitions[-1].text += "\n" + (ast.get_source_segment(source, node) or "")
        elif not (isinstance(node, ast.If) and ast.unparse(node.test).startswith(("TYPE_CHECKING", "__name__"))):
            raise ValueError(f"{name}, line {node.lineno}: only imports, definitions and assignments can be gathered")
    twice = sorted({bound for definition in module.definitions for bound in definition.names} & module.internal.keys())
    if twice:
        raise ValueError(f"{name} defines {twice[0]}, and {module.internal[twice[0]]} does: call yours otherwise")
    wanted = [known for known, home in given.names.items() if home == name]
    if wanted and name in given.files:  # the rest of a space's file is about the search
        _keep(module, wanted)
    return module


def _keep(module: _Module, wanted: list[str]) -> None:
    """Leaves only what some of a module's names need."""
    kept: list[_Definition] = []
    todo = list(wanted)
    while todo:
        bound = todo.pop()
        for definition in module.definitions:
            if bound in definition.names and definition not in kept:
                kept.append(definition)
                todo += definition.mentions
    module.definitions = [definition for definition in module.definitions if definition in kept]
    mentioned = set().union(*(definition.mentions for definition in kept))
    module.internal = {bound: home for bound, home in module.internal.items() if bound in mentioned}


def _binds_study(node: ast.Import) -> bool:
    return any(alias.name == "study" and alias.asname is None for alias in node.names)


def _without_prefix(source: str, tree: ast.Module, module: _Module) -> tuple[str, ast.Module]:
    """A user's code that says `study.Network`, with `Network` in its place; both stand for the same in one file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "study":
            module.internal[node.attr] = _home(node.attr)
    plain = re.sub(r"(?<![\w.])study\.(?=[A-Za-z_])", "", source)
    return plain, ast.parse(re.sub(r"^import study$", "", plain, flags=re.MULTILINE))


def _home(name: str) -> str:
    """The module that defines what `study` offers under a name; "" if it offers no such thing."""
    return str(getattr(getattr(sys.modules["study"], name, None), "__module__", ""))


def _add_imports(module: _Module, node: ast.Import | ast.ImportFrom, name: str, given: Given) -> None:
    package = name.partition(".")[0] if name not in given.files else "study"
    for alias in node.names:
        bound = alias.asname or alias.name.partition(".")[0]
        if isinstance(node, ast.Import):
            if alias.name.partition(".")[0] == package:
                raise ValueError(f"{name}, line {node.lineno}: import names from {alias.name}, not the module itself")
            module.external[bound] = "", alias
        elif node.module is None or node.level:
            raise ValueError(f"{name}, line {node.lineno}: import by the module's full name")
        elif node.module in given.files and alias.name != "*" and not alias.asname:
            module.internal[bound] = node.module
        elif node.module == "study" and not alias.asname:
            module.internal[bound] = _home(bound)
        elif node.module.partition(".")[0] != package:
            if node.module != "__future__":
                module.external[bound] = node.module, alias
        elif alias.asname or alias.name == "*":
            raise ValueError(f"{name}, line {node.lineno}: import from {node.module} by name, and do not rename")
        else:
            module.internal[bound] = node.module


def _full_name(module: str, alias: ast.alias) -> str:
    """What an import binds: `torch.nn` for `from torch import nn` and for `import torch.nn as nn`."""
    if module:
        return f"{module}.{alias.name}"
    return alias.name if alias.asname else alias.name.partition(".")[0]


def _mentions(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _reachable(modules: Mapping[str, _Module], root: str) -> set[_Key]:
    """Every name that the root module defines or, directly or indirectly, mentions."""
    open_keys = [(root, name) for definition in modules[root].definitions for name in definition.names]
    reached: set[_Key] = set()
    while open_keys:
        name, bound = open_keys.pop()
        module = modules[name]
        if bound in module.internal:
            open_keys.append((module.internal[bound], bound))
            continue
        for definition in module.definitions:
            if bound in definition.names and (name, bound) not in reached:
                reached |= {(name, other) for other in definition.names}
                open_keys += [(name, mentioned) for mentioned in definition.mentions]
    return reached


def _import_lines(external: Mapping[str, tuple[str, ast.alias]]) -> list[str]:
    """Import statements in two blocks, first the standard library, sorted as ruff sorts them."""
    plain: dict[bool, list[str]] = {True: [], False: []}
    named: dict[bool, dict[str, list[str]]] = {True: {}, False: {}}
    for module, alias in external.values():
        standard = (module or alias.name).partition(".")[0] in sys.stdlib_module_names
        if module:
            named[standard].setdefault(module, []).append(ast.unparse(alias))
        else:
            plain[standard].append(f"import {ast.unparse(alias)}")
    blocks = []
    for standard in (True, False):
        lines = sorted(plain[standard])
        lines += [
            f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(named[standard].items())
        ]
        blocks.append("\n".join(lines))
    return [block for block in blocks if block]
