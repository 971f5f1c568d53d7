"""The `model.py` of a model, and whether it can be written, which is known before anything is trained."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from study.built_in import BUILT_IN
from study.components import FIELDS, Described
from study.config import DataSummary, TrialConfig, UserError
from study.exporting.standalone import Given, standalone_source
from study.model import building
from study.priors.fitted import DENSITIES
from study.source import gather, user_name
from study.space import load_space

_REGISTRIES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "network": ("NETWORKS", building.NETWORKS),
    "likelihood": ("LIKELIHOODS", building.LIKELIHOODS),
}
"""Kind of components that a model is built from -> the constant in `study.model.building` with its built-in ones."""


def model_source(config: TrialConfig, code: Path, density: str | None = None) -> str:
    """The text of `model.py` for a trial's model.

    Args:
        config: The trial, with the components of its space.
        code: The space's file, if the space brings any.
        density: The name of the density that was fitted to the codes; None keeps all built-in ones.

    Raises:
        UserError: A component of the space's own is written in a way that no one file can hold.
    """
    try:
        return standalone_source(_components(config, code, density))
    except ValueError as error:  # a user's own code may be written in any way
        raise UserError(f"the model's code cannot be put into one file: {error}") from error


def builds_own(config: TrialConfig) -> tuple[str, ...]:
    """The network and likelihood of a trial that are its space's own, as `network=mine`."""
    named = [(kind, getattr(config, kind)) for kind in _REGISTRIES]
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
    untried = [*own.of_kind("prior")]
    for names, config in found.items():
        try:
            if names:
                _check_builds(config, space, data)
        except UserError as error:
            warnings.append(f"{' '.join(names)}: study.export will refuse such a trial: {error}")
            continue
        while untried:
            prior = untried.pop(0)
            try:
                _check_builds(config, space, data, prior)
            except UserError as error:
                warnings.append(f"prior {prior}: study.export will refuse a trial that it fits best: {error}")
    return warnings


def _check_builds(config: TrialConfig, space: Path, data: DataSummary, density: str | None = None) -> None:
    """Builds the model with the exported code alone, without memory for its weights.

    Raises:
        UserError: It cannot be built.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.py"
        path.write_text(model_source(config, space, density), encoding="utf-8")
        try:
            with imported_model(path) as module:
                again = module.TrialConfig.from_params(config.to_params(), module.OWN_COMPONENTS)
                with torch.random.fork_rng(devices=[]), torch.device("meta"):
                    module.build_autoencoder(again, module.DataSummary(**dataclasses.asdict(data)))
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split())
            raise UserError(f"the exported model.py does not load: {type(error).__name__}: {text}") from error


@contextlib.contextmanager
def imported_model(path: Path) -> Iterator[ModuleType]:
    """The module of an exported `model.py`, for the time of the block."""
    spec = importlib.util.spec_from_file_location("exported_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


def _components(config: TrialConfig, path: Path, density: str | None) -> Given:
    """What the file says of the components of its model, and where their code lies.

    What trained the model is not needed to use it: the file has what it says of itself, not its code.
    """
    used = {kind: config.components.of_kind(kind).get(getattr(config, kind)) for kind in FIELDS}
    own = {kind: component for kind, component in used.items() if component is not None}
    priors = config.components.of_kind("prior")
    names = {"Components": "study.components", "Described": "study.components"}
    given = [item.__name__ if kind in _REGISTRIES else _expression(Described.of(item)) for kind, item in own.items()]
    known = [BUILT_IN.of_kind(kind)[getattr(config, kind)] for kind in FIELDS if kind not in own]
    constants = {"OWN_COMPONENTS": _tuple(given), "BUILT_IN": _tuple([_expression(item) for item in known])}
    for kind, (constant, classes) in _REGISTRIES.items():
        if kind in own:
            constants[constant] = "{}"
            names[own[kind].__name__] = user_name(own[kind].__module__)
        else:
            constants[constant] = _entry(getattr(config, kind), classes, names)
    if density is not None:
        constants["DENSITIES"] = _entry(density, {**DENSITIES, **priors}, names)
    needs_code = own or density in priors
    return Given(constants, names, {path.stem: path} | gather(path).modules if needs_code else {})


def _entry(key: str, classes: Mapping[str, Any], names: dict[str, str]) -> str:
    """The dict with one entry alone, whose class joins `names`."""
    names[classes[key].__name__] = user_name(classes[key].__module__)
    return f'{{"{key}": {classes[key].__name__}}}'


def _tuple(entries: list[str]) -> str:
    return f"Components(({', '.join(entries)}{',' if entries else ''}))"


def _expression(component: Described) -> str:
    """The call that makes such a description, without what figures and searches need."""
    plain = Described(kind=component.kind, name=component.name)
    wanted = ("methods", "is_made_for_normal", "is_kl", "downsampling", "reads_codes", "types", "defaults")
    said = {name: getattr(component, name) for name in ("kind", "name", *wanted)}
    told = [f"{name}={value!r}" for name, value in said.items() if name not in wanted or value != getattr(plain, name)]
    return f"Described({', '.join(told)})"
