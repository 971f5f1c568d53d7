"""The code of a search space: its file and the modules beside it that it imports, gathered, and run as one."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import importlib.machinery
import itertools
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType

from study.errors import UserError

_OURS = frozenset({"study", "analysis", "search_spaces"})
_PACKAGE = "search_space_files"
_loads = itertools.count()


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

    def is_same(self, recorded: str) -> bool:
        """Whether a study recorded this code. Earlier versions hashed the space's own file alone, or its bytes."""
        own = self.files[self.path.name]
        return recorded in (self.hash, code_hash(own), hashlib.sha256(own).hexdigest())

    @property
    def modules(self) -> dict[str, Path]:
        """Module name -> file, of the neighbours."""
        names = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in list(self.files)[1:]]
        return dict(zip(names, (self.path.parent / name for name in list(self.files)[1:]), strict=True))


def gather(path: Path) -> Source:
    """Reads a space's file and, without running anything, all modules beside it that it imports anywhere.

    Imports under `if TYPE_CHECKING` and `if __name__ == "__main__"` do not count.

    Raises:
        OSError: A file cannot be read.
        UserError: A file is no Python.
    """
    files = {path.name: path.read_bytes()}
    todo = [path.name]
    while todo:
        name = todo.pop(0)
        for found in _neighbours(path.parent, _imports(path.parent, name, files[name])):
            if found not in files:
                files[found] = (path.parent / found).read_bytes()
                todo.append(found)
    first, *others = files
    return Source(path, {name: files[name] for name in (first, *sorted(others))})


def run(source: Source) -> ModuleType:
    """Runs a space's file and returns the module.

    It and its neighbours become modules of a package of their own, anew each time. So spaces do not get each other's
    modules, and neither the path nor modules of the same names change.

    Raises:
        UserError: It does not run. The message says where.
    """
    path = source.path
    package = _new_package(path.parent, (name.partition("/")[0].removesuffix(".py") for name in source.files))
    try:
        return importlib.import_module(f"{package}.{path.stem}")
    except (Exception, SystemExit) as error:  # a user's file may raise anything at all
        own = {str(path), *map(str, source.modules.values())}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
        line = frames[-1].lineno if frames else getattr(error, "lineno", None)
        place = f"{frames[-1].filename if frames else path}, line {line}" if line else path
        told = error if isinstance(error, UserError) else f"it does not run: {type(error).__name__}: {error}"
        raise UserError(f"search space {place}: {told}") from error


def run_module(folder: Path, name: str) -> ModuleType | None:
    """Runs a module of a folder that is not on Python's path, anew each time; None if the folder has no such module.

    It finds the modules and packages beside it, as a space does.

    Args:
        folder: Where it lies.
        name: `module`, or `package.module`.
    """
    parts = name.split(".")
    stem = "/".join(parts)
    is_name = all(part.isidentifier() for part in parts) and parts[0] not in _OURS
    if not is_name or not any((folder / file).is_file() for file in (f"{stem}.py", f"{stem}/__init__.py")):
        return None
    beside = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    names = ({parts[0]} | beside) - _OURS - sys.stdlib_module_names
    return importlib.import_module(f"{_new_package(folder, names)}.{name}")


def imported(module: str, beside: Path | None, here: Path) -> ModuleType:
    """A module by name, without a change of Python's path.

    Args:
        module: `module`, or `package.module`.
        beside: A folder whose modules come first.
        here: A folder whose modules come last: the working directory, which the command `study` does not put on the
            path.

    Raises:
        UserError: There is none. The message says where it was looked for.
    """
    if beside is not None and (found := run_module(beside, module)) is not None:
        return found
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports one that is not
    if (found := run_module(here, module)) is not None:
        return found
    places = " or ".join(
        str(folder) for folder in dict.fromkeys((beside, here)) if folder is not None and folder.is_dir()
    )
    raise UserError(
        f"no module {module} in {places}, or among the installed: put its file there, or its folder on PYTHONPATH"
    )


def _new_package(folder: Path, neighbours: Iterable[str]) -> str:
    """The name of a new package whose modules are a folder's, and import the neighbours among them."""
    package = ModuleType(f"{_PACKAGE}.n{next(_loads)}")
    package.__path__ = [str(folder)]
    _finder.neighbours[package.__name__] = frozenset(neighbours)
    sys.modules.setdefault(_PACKAGE, ModuleType(_PACKAGE))
    sys.modules[package.__name__] = package
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    importlib.invalidate_caches()
    return package.__name__


def user_name(module: str) -> str:
    """What a user calls a module that `run` has made: `parts.net`; other names stay as they are."""
    parts = module.split(".")
    return ".".join(parts[2:]) if parts[0] == _PACKAGE and len(parts) > 2 else module


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


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a file in which imports of neighbours lead into the space's own package."""

    def __init__(self, name: str, path: str, package: str, neighbours: frozenset[str]) -> None:
        super().__init__(name, path)
        self._inside = _Inside(package, neighbours)

    def get_code(self, fullname: str) -> CodeType:
        """The code, from the file each time: Python's cache would mix it with that of other packages."""
        path = self.get_filename(fullname)
        tree = self._inside.visit(ast.parse(self.get_data(path), filename=path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class _Finder:
    """Finds the modules of the packages that `run` makes.

    Attributes:
        neighbours: Package -> the top-level names of its modules.
    """

    def __init__(self) -> None:
        self.neighbours: dict[str, frozenset[str]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package = ".".join(fullname.split(".")[:2])
        if package not in self.neighbours or package == fullname:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, package, self.neighbours[package])
        return spec


_finder = _Finder()


class _Inside(ast.NodeTransformer):
    """Puts the package before the names of neighbours in import statements."""

    def __init__(self, package: str, neighbours: frozenset[str]) -> None:
        self._package = package
        self._neighbours = neighbours

    def _is_neighbour(self, name: str | None) -> bool:
        return name is not None and name.partition(".")[0] in self._neighbours

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        statements: list[ast.stmt] = []
        for alias in node.names:
            if not self._is_neighbour(alias.name):
                statements.append(ast.Import([alias]))
                continue
            top = alias.name.partition(".")[0]
            bound = alias.asname or f"_{alias.name.replace('.', '_')}"
            if alias.asname is None:  # `import parts.net` binds `parts`
                statements.append(ast.Import([ast.alias(f"{self._package}.{top}", top)]))
            if alias.asname is not None or top != alias.name:
                statements.append(ast.Import([ast.alias(f"{self._package}.{alias.name}", bound)]))
        return [ast.copy_location(statement, node) for statement in statements]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if not node.level and self._is_neighbour(node.module):
            node.module = f"{self._package}.{node.module}"
        return node


def _imports(folder: Path, file: str, content: bytes) -> Iterator[str]:
    """The full names that a file imports, anywhere in it: of modules, or of what they hold."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        path = folder / file
        place = f"{path}, line {error.lineno}" if isinstance(error, SyntaxError) else path
        raise UserError(f"search space {place}: it does not run: {type(error).__name__}: {error}") from error
    package = file.split("/")[:-1]
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (
                name for name in (module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)) if name
            )


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those in blocks for type checkers or for the file as a script."""
    yield node
    for child in ast.iter_child_nodes(node):
        is_test = isinstance(child, ast.If) and ast.unparse(child.test).endswith(("TYPE_CHECKING", "'__main__'"))
        if not is_test:
            yield from _executed(child)


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
