"""Feature networks that are not trained here: `imagenet`, and functions of a user's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from study.config import DataSummary, UserError
from study.errors import located, located_errors
from study.measure.cache import content_key
from study.measure.imagenet import check_installed, weights_hash
from study.source import gather, imported
from study.space import load_space

Features = Callable[[Tensor], Tensor]
"""Images [B, C, H, W] in [0, 1] -> features [B, d], on the images' device."""
PRETRAINED = {"imagenet": "study.measure.imagenet:features"}
"""Networks that `study.run` knows by name and does not train: name -> `module:function`."""


class Places(NamedTuple):
    """Where functions of a user's own are found, in any process of a study.

    Attributes:
        code: The file of a space that brings feature networks; None if there is none.
        beside: The folder whose modules come first, that of the space's file.
        here: The folder whose modules come last, the working directory of the command.
    """

    code: Path | None = None
    beside: Path | None = None
    here: Path | None = None


NO_PLACES = Places()


@dataclass(frozen=True)
class CustomInstrument:
    """A function that is not trained here: images [B, C, H, W] in [0, 1] -> features [B, d].

    Attributes:
        name: In `PRETRAINED`, that of a component of the space's own, or `module:function`.
        hash: Hash of the name, and of its source or the weights.
        places: Where it is found.
    """

    name: str
    hash: str
    accuracy: None = None
    places: Places = NO_PLACES

    def build(self, summary: DataSummary, device: torch.device | str = "cpu") -> Features:
        """The function, for images of this data set."""
        if self.name in PRETRAINED:
            check_installed()
        function = _loaded(self.name, self.places, self.hash)

        def features(x: Tensor) -> Tensor:
            with located_errors(others=False):
                found = function(x)
            if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(x):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise UserError(f"--feature-network {self.name} returns {shape}: return a tensor [{len(x)}, d]")
            return found.detach().float()

        return features

    def summary(self) -> dict[str, Any]:
        """Name and hash."""
        return {"name": self.name, "spec": self.hash, "hash": self.hash, "accuracy": None}


def custom_instrument(name: str, places: Places) -> CustomInstrument:
    """The instrument of a pretrained network or of a function of a user's own.

    Raises:
        UserError: There is none of that name, or its code does not run.
    """
    if name in PRETRAINED:
        return CustomInstrument(name, content_key(name, weights_hash()), places=places)
    if places.code is not None and ":" not in name:
        _function(name, places)
        return CustomInstrument(name, content_key(name, gather(places.code).hash), places=places)
    function = _function(name, places)
    try:
        source = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):  # compiled, or made at run time
        source = name
    return CustomInstrument(name, content_key(name, source), places=places)


def check_custom(name: str, summary: DataSummary, places: Places) -> None:
    """Tries a network on a few random images.

    Raises:
        UserError: It is not installed, there is none of that name, its code raises an error, or it gives no features.
    """
    if name in PRETRAINED:
        check_installed()
        return
    x = torch.rand((3, *summary.shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        custom_instrument(name, places).build(summary)(x)


@functools.lru_cache(maxsize=4)
def _loaded(name: str, places: Places, code: str) -> Features:
    """The function, loaded once as long as its code (a hash) is the same: it may hold a large network."""
    return _function(name, places)


def _function(name: str, places: Places) -> Features:
    module, colon, function = PRETRAINED.get(name, name).partition(":")
    if not colon:
        own = {} if places.code is None else load_space(str(places.code)).space.own.of_kind("feature_network")
        if name not in own:
            names = ", ".join([*own, "classes", "contrast", *PRETRAINED])
            raise UserError(f"--feature-network {name}: choose from {names}, or give module:function")
        return own[name].function
    try:
        found: Any = getattr(imported(module, places.beside, places.here or Path.cwd()), function)
    except UserError as error:
        raise UserError(f"--feature-network {name}: {error}") from None
    except Exception as error:  # a user's module may raise anything
        place = located(error) or f"{type(error).__name__}: {error}"
        raise UserError(f"--feature-network {name}: {place}") from error
    if not callable(found):
        raise UserError(f"--feature-network {name}: {function} is no function")
    return cast("Features", found)
