"""The `model.py` of a model, and whether it can be written, which is known before anything is trained."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from study.components import FIELDS, Described
from study.config import DataSummary, TrialConfig, UserError
from study.exporting.standalone import NO_OWN_CODE, OwnCode, standalone_source
from study.source import gather, user_name
from study.space import load_space

_BUILT = ("network", "likelihood")
"""The kinds of components that a model is built from; the others have only trained it."""


def model_source(config: TrialConfig, code: Path, density: str | None = None) -> str:
    """The text of `model.py` for a trial's model.

    Args:
        config: The trial, with the components of its space.
        code: The space's file, if the space brings any.
        density: The kind of the density that was fitted to the codes; None keeps all kinds.

    Raises:
        UserError: A component of the space's own is written in a way that no one file can hold.
    """
    used = {kind: config.components.of_kind(kind).get(getattr(config, kind)) for kind in FIELDS}
    chosen: dict[str, str | None] = {
        "NETWORKS": None if used["network"] else config.network,
        "LIKELIHOODS": None if used["likelihood"] else config.likelihood,
    }
    if density is not None:
        chosen["DENSITIES"] = density
    try:
        return standalone_source(chosen, own=_own_code(code, used))
    except ValueError as error:  # a user's own code may be written in any way
        raise UserError(f"the model's code cannot be put into one file: {error}") from error


def builds_own(config: TrialConfig) -> tuple[str, ...]:
    """The network and likelihood of a trial that are its space's own, as `network=mine`."""
    named = [(kind, getattr(config, kind)) for kind in _BUILT]
    return tuple(f"{kind}={name}" for kind, name in named if name in config.components.of_kind(kind))


def export_warnings(trials: Iterable[Mapping[str, Any]], data: DataSummary, space: Path) -> list[str]:
    """What of a space's own could be trained and not exported: a line each, with the reason.

    Args:
        trials: The parameters of some trials.
        data: Their data.
        space: The space's file. It is run again.
    """
    own = load_space(str(space)).space.own
    found: dict[tuple[str, ...], TrialConfig] = {}
    for params in trials:
        config = TrialConfig.from_params({key: value for key, value in params.items() if key != "origin"}, own)
        found.setdefault(builds_own(config), config)
    warnings = []
    for names, config in found.items():
        try:
            if names:
                _check_builds(model_source(config, space), config, data)
        except UserError as error:
            warnings.append(f"{' '.join(names)}: study.export will refuse such a trial: {error}")
    return warnings


def _check_builds(source: str, config: TrialConfig, data: DataSummary) -> None:
    """Builds the model with the exported code alone, without memory for its weights.

    Raises:
        UserError: It cannot be built.
    """
    module = ModuleType("previewed_model")
    sys.modules[module.__name__] = module  # its dataclasses look there
    try:
        exec(compile(source, "model.py", "exec"), vars(module))
        again = module.TrialConfig.from_params(config.to_params(), module.OWN_COMPONENTS)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            module.build_autoencoder(again, module.DataSummary(**dataclasses.asdict(data)))
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        raise UserError(f"the exported model.py does not load: {type(error).__name__}: {text}") from error
    finally:
        del sys.modules[module.__name__]


def _own_code(path: Path, used: Mapping[str, Any]) -> OwnCode:
    """Where the code of the components lies that a model is built from, as far as they are the space's own."""
    own = {kind: component for kind, component in used.items() if component is not None}
    if not own:
        return NO_OWN_CODE
    source = gather(path)
    built = [own[kind] for kind in _BUILT if kind in own]
    # What trained the model is not needed to use it; that it was of the space's own is.
    described = [Described.of(component) for kind, component in own.items() if kind not in _BUILT]
    homes = {path.stem: path} | source.modules
    expression = f"Components(({', '.join([*(item.__name__ for item in built), *map(repr, described)])},))"
    names = {"Components": "study.components", "Described": "study.components"}
    names |= {item.__name__: user_name(item.__module__) for item in built}
    return OwnCode(homes, {"OWN_COMPONENTS": expression}, names)
