"""The code of a search space that is an object: of a script, a notebook cell or an imported module."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.space import SearchSpace


def code_of_space(space: SearchSpace) -> bytes | None:
    """What a space's trials depend on: its functions, `base`, `grid` and `objectives`, see `code_of`.

    Returns:
        Python; None if the source of a function is not at hand.
    """
    functions = {name: getattr(space, name) for name in ("suggest", "baselines", "first_points")}
    own = {name: function for name, function in functions.items() if not _is_default(function, space)}
    code = code_of(own, {"base": dict(space.base), "grid": space.grid, "objectives": space.objectives})
    return None if code is None else code.encode()


def code_of(functions: Mapping[str, Callable[..., Any]], values: Mapping[str, Any]) -> str | None:
    """Functions with all that they use of their own module, as a text that changes when what they do changes.

    It holds the functions, the functions and classes they mention, and the values of the constants they mention, as
    they are now. A script's other lines are not in it: that a script asks for more trials does not make it another
    space. Comments and layout do not count.

    Args:
        functions: By name. What is imported from elsewhere counts by its name.
        values: What belongs to the space beside its functions.

    Returns:
        Python statements; None if the source of a function is not at hand, as of one typed at a prompt.
    """
    found: dict[str, str] = {}
    named: dict[str, Any] = {}
    for name, function in functions.items():
        plain = _plain(function)
        if plain is None or not _add(plain, found):
            return None
        named[name] = plain.__qualname__
        if isinstance(function, functools.partial):
            named[f"{name}_arguments"] = (function.args, function.keywords)
    lines = [f"{name} = {value!r}" for name, value in {**named, **values}.items() if _is_text(value)]
    return "\n\n".join([*found.values(), *lines]) + "\n"


def _is_default(function: Callable[..., Any], space: SearchSpace) -> bool:
    return getattr(function, "__module__", "") == type(space).__module__


def file_of(function: Callable[..., Any]) -> Path | None:
    """The file of a function, which for a notebook's cell does not exist; None if it is not written in Python."""
    plain = _plain(function)
    return None if plain is None else Path(plain.__code__.co_filename)


def _plain(function: Callable[..., Any]) -> FunctionType | None:
    """The Python function that runs when something is called."""
    while isinstance(function, functools.partial):
        function = function.func
    for plain in (inspect.unwrap(function), type(function).__call__):
        plain = getattr(plain, "__func__", plain)
        if isinstance(plain, FunctionType):
            return plain
    return None


def _add(function: FunctionType, found: dict[str, str]) -> bool:
    """Adds a function and what it mentions; says whether its source is at hand."""
    code = function.__code__
    nodes = list(_nodes(code))
    if not nodes:
        return False
    key = f"{function.__qualname__}, line {code.co_firstlineno}"
    if key in found:
        return True
    found[key] = "\n".join(map(ast.unparse, nodes))
    closed = inspect.getclosurevars(function).nonlocals
    mentions = {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}
    known = {name: function.__globals__[name] for name in sorted(mentions & function.__globals__.keys())}
    defaults = dict(enumerate(function.__defaults__ or ())) | (function.__kwdefaults__ or {})
    defaults = {f"{function.__name__.strip('<>')}_{name}": value for name, value in defaults.items()}
    for name, value in {**known, **closed, **defaults}.items():
        _add_value(name, value, function, found)
    return True


def _add_value(name: str, value: Any, user: FunctionType, found: dict[str, str]) -> None:
    """Adds what a name stands for: code of the user's module, a name from elsewhere, or a value."""
    if isinstance(value, FunctionType | type):
        if value.__module__ != user.__module__:
            found[name] = f"from {value.__module__} import {value.__qualname__}"
        elif isinstance(value, FunctionType):
            _add(value, found)
        elif name not in found:
            methods = [method for method in vars(value).values() if isinstance(method, FunctionType)]
            places = dict.fromkeys(function.__code__.co_filename for function in (user, *methods))
            found[name] = next(filter(None, (_class(value.__name__, place) for place in places)), "")
            for method in methods:
                _add(method, found)
    elif not isinstance(value, ModuleType) and _is_text(value):
        value = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        found.setdefault(name, f"{name} = {value!r}")


def _is_text(value: object) -> bool:
    """Whether a value's `repr` is Python, which an address in memory is not."""
    try:
        ast.parse(repr(value), mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _tree(file: str) -> ast.Module:
    linecache.checkcache(file)
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:  # a cell of other things than Python
        return ast.Module([], [])


def _nodes(code: CodeType) -> Iterator[ast.AST]:
    """Where a function is defined: of several lambdas on a line, all."""
    for node in ast.walk(_tree(code.co_filename)):
        if isinstance(node, ast.Lambda):
            name, first = "<lambda>", node.lineno
        elif isinstance(node, ast.FunctionDef):
            name, first = node.name, min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        else:
            continue
        if (name, first) == (code.co_name, code.co_firstlineno):
            yield node


def _class(name: str, file: str) -> str:
    nodes = (node for node in ast.walk(_tree(file)) if isinstance(node, ast.ClassDef) and node.name == name)
    return "\n".join(map(ast.unparse, nodes))
