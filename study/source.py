"""The code of a search space: its file and the modules beside it that it imports, gathered and imported as one."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from study.errors import UserError

_OURS = frozenset({"study", "analysis", "search_spaces"})


@dataclasses.dataclass(frozen=True)
class Source:
    """A space's file and its neighbours.

    Attributes:
        path: The space's file.
        files: Content by path, relative to the file's folder; the space's own file comes first.
    """

    path: Path
    files: dict[str, bytes]

    @property
    def hash(self) -> str:
        """Hash of the code: comments, docstrings and layout do not count."""
        digests = self.digests
        if len(digests) == 1:
            return digests[self.path.name]
        return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in digests.items()).encode()).hexdigest()

    @property
    def digests(self) -> dict[str, str]:
        """The hash of each file's code."""
        return {name: code_hash(content) for name, content in self.files.items()}

    @property
    def modules(self) -> dict[str, Path]:
        """Module name -> file, of the neighbours."""
        return {_module_name(name): self.path.parent / name for name in list(self.files)[1:]}


def gather(path: Path) -> Source:
    """Reads a space's file and, without running anything, all modules beside it that it imports anywhere.

    Raises:
        OSError: A file cannot be read.
        UserError: A file is no Python.
    """
    files = {path.name: path.read_bytes()}
    todo = [path.name]
    while todo:
        name = todo.pop(0)
        for found in _neighbours(path.parent, _imports(path.parent / name, files[name])):
            if found not in files:
                files[found] = (path.parent / found).read_bytes()
                todo.append(found)
    first, *others = files
    return Source(path, {name: files[name] for name in (first, *sorted(others))})


def run(source: Source, package: str) -> ModuleType:
    """Runs a space's file, with its folder first on the path while it does, and returns the module.

    Its neighbours are run anew even if modules of these names were imported before, for another space.

    Args:
        source: The code.
        package: Where the module's name is put, so that it clashes with no other.

    Raises:
        UserError: It does not run. The message says where.
    """
    path, folder = source.path, str(source.path.parent)
    spec = importlib.util.spec_from_file_location(f"{package}.{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"search space {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    for name in source.modules:
        sys.modules.pop(name, None)
    sys.modules[spec.name] = module
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        spec.loader.exec_module(module)
        for name in source.modules:  # also what a function imports when it is called
            importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a user's file may raise anything at all
        own = {str(path), *map(str, source.modules.values())}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
        line = frames[-1].lineno if frames else getattr(error, "lineno", None)
        place = f"{frames[-1].filename if frames else path}, line {line}" if line else path
        told = error if isinstance(error, UserError) else f"it does not run: {type(error).__name__}: {error}"
        raise UserError(f"search space {place}: {told}") from error
    finally:
        sys.path.remove(folder)
    return module


def _imports(path: Path, content: bytes) -> Iterator[str]:
    """The full names that a file imports, anywhere in it: of modules, or of what they hold."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        place = f"{path}, line {error.lineno}" if isinstance(error, SyntaxError) else path
        raise UserError(f"search space {place}: it does not run: {type(error).__name__}: {error}") from error
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return iter(names)


def _neighbours(folder: Path, names: Iterator[str]) -> Iterator[str]:
    """The files of those modules that lie in the folder, their packages' included."""
    for name in names:
        parts = name.split(".")
        if parts[0] in _OURS or parts[0] in sys.stdlib_module_names:
            continue
        for depth in range(1, len(parts) + 1):
            stem = "/".join(parts[:depth])
            for found in (f"{stem}/__init__.py", f"{stem}.py"):
                if (folder / found).is_file():
                    yield found


def _module_name(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def code_hash(content: bytes) -> str:
    """Hash of Python code: comments, docstrings and layout do not count."""
    tree = ast.parse(content)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            body[0] = ast.Expr(ast.Constant(""))
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
