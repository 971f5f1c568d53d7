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

EARLIER_HASHES = {
    "5a77982fd29508c166f007938b16b8397b342289": "9d46bee1e21c51ea456205cf8e44bb9ffcf52f83",
    "006808a83a698e18b4965fd9360f4c0bcbd50775": "3e70fdf15b13f32da416a8c9b60029ec3837683d",
    "289ddb931aea7f6f063ea3951a9cd8218103493d": "90b7f364e31d9359b5fbc6ccf21c54e85b1eb0d3",
    "95f0cbece0b56d1df5991cce94d9b200a2dbf471": "5f7c044bb3587d656e8fabc0069a18de9aa144a0",
    "82fe4caf4bfcb7ac6570b3a49d50f2ae53f0da2b": "a7e3fd9771b12d11f27e6c6d2ba732a1e2485f1c",
    "5a6a3de9b2c290cd57d35f43970449b24650aee3": "357eef00bff56b3d24ca5354172a1f1484e949a4",
    "84991a362dd0fcacc6ec316b45bf7d5d3378ae68": "68630481647f66285d9f51b93011d489bfadfe2e",
    "aa6f88542ec67881db0cd55f71112bc3faed3da7": "72fc8b172bf3ee4127c492f63f10429eb28a3c24",
    "618bf590ad4abb5c740d836f3e022670f2f60341": "d381c7b00dcf72562a43049341ad20ce211a7453",
    "27f2f2eb9d39cff6a37cf3ea0bff8eb316f30c61": "b1abac28abf043f013958621df0f3149b43a1ecc",
    "77f6f412a7643b00dd8bdd06d0c3f935d755cca4": "6a48db32736a45c95d580b84e8fa281c8fc5bca3",
    "ebfe64c2195b3b53d03c49a1e4cc3348f74f1c1e": "3e70fdf15b13f32da416a8c9b60029ec3837683d",
    "b749d640606e1ccba1f28f030ec1e79fff8ee6f0": "5f7c044bb3587d656e8fabc0069a18de9aa144a0",
    "19a6b45bda33f75c203ad009c552b6356272a2ad": "a7e3fd9771b12d11f27e6c6d2ba732a1e2485f1c",
    "4bfc0caae4442fc3b9a2bdd90f5d35f4c693d3a5": "d381c7b00dcf72562a43049341ad20ce211a7453",
    "210142ac8d0eab7b14035027cb28bc148ec73c69": "c105038bda290877d22b09aa029fb8f2f3fcece3",
    "67b7322a5ee18d128218b399927125ecd499c006": "68630481647f66285d9f51b93011d489bfadfe2e",
    "4a60437439c3a68f9e06248d03bce1a0335a167b": "90b7f364e31d9359b5fbc6ccf21c54e85b1eb0d3",
    "4aa661a63679446a04b988a0bedbfafca9cb642c": "b1abac28abf043f013958621df0f3149b43a1ecc",
    "d3b7cb26adf6d4ba69c8abec7d032ab5cfbbbc88": "68630481647f66285d9f51b93011d489bfadfe2e",
    "bd8f712c4fd6a8c750916fbb1eca7385e9fda7b9": "72fc8b172bf3ee4127c492f63f10429eb28a3c24",
}
"""Hash that an earlier version recorded of a built-in space -> hash of its code today; 40 digits of each.

Version 0.1 hashed the file's bytes, the first lines. The others are of code that was written anew with the same trials.
"""
SIZED_HASHES = {
    "b1abac28abf043f013958621df0f3149b43a1ecc",
    "68630481647f66285d9f51b93011d489bfadfe2e",
    "72fc8b172bf3ee4127c492f63f10429eb28a3c24",
}
"""Code of today whose trials are those of earlier code only where latent sizes are as they were."""


def code_of_space(space: SearchSpace) -> bytes | None:
    """What a space's trials depend on: its functions, `base`, `grid` and `objectives`, see `code_of`.

    Returns:
        Python; None if the source of a function is not at hand.
    """
    functions = {name: getattr(space, name) for name in ("suggest", "baselines", "first_points")}
    own = {name: function for name, function in functions.items() if not _is_default(function, space)}
    values = {"base": dict(space.base), "grid": space.grid, "objectives": space.objectives}
    if (plain := getattr(space.suggest, "plain", None)) is not None:  # a grid of values
        del own["suggest"], own["first_points"]
        own |= getattr(space.suggest, "functions", {})
        values["grid"] = plain
    code = code_of(own, values)
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
    if hasattr(function, "defined_at"):
        return Path(definition_of(function)[0])
    plain = _plain(function)
    return None if plain is None else Path(plain.__code__.co_filename)


def definition_of(suggest: Callable[..., Any]) -> tuple[str, int]:
    """File and line where a space's `suggest`, or its grid of values, is defined; `""` if that is not known."""
    if (place := getattr(suggest, "defined_at", None)) is not None:
        return place
    code = getattr(inspect.unwrap(suggest), "__code__", None)
    return ("", 0) if code is None else (code.co_filename, code.co_firstlineno)


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
