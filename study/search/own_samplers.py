"""Samplers by name, and those that are a user's own: a class or a function that is called with `seed=`."""

from __future__ import annotations

import functools
import inspect
import operator
import warnings
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.study import StudyDirection

from study.errors import UserError, located
from study.search.samplers import SAMPLERS, Factory
from study.source import imported, user_name


def sampler_name(sampler: Any) -> str:
    """What a study records of a sampler: a built-in name, or `module:Class`.

    Args:
        sampler: A name, or a class or function that is called with `seed=`.

    Raises:
        UserError: It is none of these.
    """
    if isinstance(sampler, str):
        if sampler not in SAMPLERS and ":" not in sampler:
            raise UserError(f"--sampler {sampler}: choose from {', '.join(SAMPLERS)}, or give module:Class")
        return sampler
    if isinstance(sampler, optuna.samplers.BaseSampler) or not callable(sampler):
        kind = type(sampler).__name__
        raise UserError(
            f"sampler: {kind} is an object; give a class or function that is called with seed=, because a resumed "
            f"study needs another seed: functools.partial({kind}, ...)"
        )
    function, options = sampler, []
    while isinstance(function, functools.partial):
        options += [
            *map(_shown, function.args),
            *(f"{key}={_shown(value)}" for key, value in function.keywords.items()),
        ]
        function = function.func
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = user_name(function.__module__)
    if getattr(optuna.samplers, name, None) is function:
        module = "optuna.samplers"
    return f"{module}:{name}" + (f"({', '.join(options)})" if options else "")


def _shown(value: object) -> str:
    """A plain value, or the type of another: the text of an object may differ from run to run."""
    return repr(value) if isinstance(value, str | int | float | None) else type(value).__name__


def chosen_sampler(recorded: str, *given: Any, beside: Path | None = None) -> str | Factory:
    """The sampler that a study records.

    Args:
        recorded: As `sampler_name` gives it.
        given: What the user and the space give. The one of that name is it; otherwise it is imported.
        beside: The folder of the space's file. Its modules come first, then those on Python's path, then those of the
            working directory, which the command `study` does not put on the path.

    Raises:
        UserError: It cannot be imported.
    """
    if sampler_name(recorded) in SAMPLERS:
        return recorded
    for sampler in given:
        if sampler is not None and not isinstance(sampler, str) and sampler_name(sampler) == recorded:
            return sampler
    module, _, name = recorded.partition(":")
    if module == "__main__" or "<" in name or "(" in name:
        raise UserError(f"the study's sampler {recorded} is of a script or notebook: give it again, as sampler=")
    try:
        found = operator.attrgetter(name)(imported(module, beside, Path.cwd()))
    except UserError as error:
        raise UserError(f"--sampler {recorded}: {error}") from None
    except Exception as error:  # a user's module may raise anything
        raise UserError(f"--sampler {recorded}: {_told(error)}") from error
    if not callable(found):
        raise UserError(f"--sampler {recorded}: {name} is no class or function")
    return cast("Factory", found)


def check_sampler(sampler: str | Factory, objectives: int) -> None:
    """Tries a sampler of the user's own on a study in memory.

    Args:
        sampler: As `chosen_sampler` gives it.
        objectives: How many there are.

    Raises:
        UserError: It cannot be built, is none, or cannot search for so many objectives.
    """
    if isinstance(sampler, str):
        return
    name = sampler_name(sampler)
    try:
        inspect.signature(sampler).bind(seed=0)
    except TypeError as error:
        raise UserError(
            f"--sampler {name}: called with seed= alone, it says: {error}; give a function seed -> sampler"
        ) from None
    except ValueError:
        pass  # a class written in C does not tell its signature
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            built = sampler(seed=0)
            if not isinstance(built, optuna.samplers.BaseSampler):
                raise UserError(f"--sampler {name}: it gives {type(built).__name__}, no Optuna sampler")
            _search(built, objectives)
    except UserError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise UserError(f"--sampler {name}: {_told(error)}") from error


def _search(sampler: optuna.samplers.BaseSampler, objectives: int) -> None:
    study = optuna.create_study(directions=[StudyDirection.MINIMIZE] * objectives, sampler=sampler)
    for _ in range(2):
        trial = study.ask()
        choice = trial.suggest_categorical("choice", (0, 1))
        study.tell(trial, [trial.suggest_int("number", 1, 9) + choice] * objectives)


def _told(error: Exception) -> str:
    return located(error) or f"{type(error).__name__}: {' '.join(str(error).split())}"
