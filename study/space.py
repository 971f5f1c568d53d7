"""A search space: one question, what varies, and where to begin. The files lie in `search_spaces/`."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import DataSummary, Params, TrialConfig, UserError

if TYPE_CHECKING:
    import optuna

WEIGHT_RANGES: dict[str, tuple[float, float]] = {
    "kl": (3e-4, 0.3),
    "mmd": (3e-3, 10.0),
    "adversarial": (3e-3, 10.0),
    "sliced_wasserstein": (1e-3, 10.0),
    "info_vae": (1e-4, 0.1),
    "rae_l2": (1e-4, 1.0),
}
"""Weights worth searching, as multiples of the data's total pixel variance: both ends of the trade-off lie inside.

Read off digits (d = 8, half-decade steps from 1e-4 to 10, one seed): from where the codes or the samples begin to
differ from a plain autoencoder's, to where the error is about twice as large, or the posterior has collapsed.
"""


def weight_range(data: DataSummary, *regularizers: str) -> tuple[float, float]:
    """The smallest absolute weight range that covers the named regularizers on this data set."""
    ranges = [WEIGHT_RANGES[name] for name in regularizers]
    return min(low for low, _ in ranges) * data.total_variance, max(high for _, high in ranges) * data.total_variance


def _no_points(data: DataSummary) -> Sequence[Mapping[str, Any]]:
    return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """One question and the trials that answer it.

    Attributes:
        question: What the study answers, one sentence.
        suggest: `suggest(trial, data)` asks the Optuna trial for what varies and returns it as trial parameters. What
            it asks for carries the parameter's own name (`weight`, `latent_dim`, …).
        base: Trial parameters that hold for every trial; they win over the data set's defaults.
        baselines: Fixed configurations to compare with. They are trained first, as trials of the study, and the search
            does not learn from them.
        first_points: Points of the space to try before the sampler takes over, as values of what `suggest` asks for.
        grid: The first points are the whole study: each is trained once, to the end, and nothing is sampled.
        num_trials: Trials of a default study, baselines included; a grid has as many as it has points.
        objectives: Metrics to trade off, measured on the validation split; each one's direction is the metric's own.
        any_device: With `--gpus-per-trial`, nodes without GPUs train trials too, on their CPUs. A trial's seconds then
            depend on where it ran, and so do its random numbers: CPU and GPU are like two seeds. For searches whose
            trials are cheap on CPUs, since the study ends with its slowest trial; not for one that compares seconds, or
            single models of one seed.
        cost: What the default study takes and on which machine, for `--list`.
        references: The old name of `baselines`.
    """

    question: str
    suggest: Callable[[optuna.trial.BaseTrial, DataSummary], Mapping[str, Any]]
    base: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    baselines: Callable[[DataSummary], Sequence[Mapping[str, Any]]] = _no_points
    first_points: Callable[[DataSummary], Sequence[Mapping[str, Any]]] = _no_points
    grid: bool = False
    num_trials: int = 24
    objectives: tuple[str, ...] = ("reconstruction_mse", "sample_fid")
    any_device: bool = False
    cost: str = ""
    references: Callable[[DataSummary], Sequence[Mapping[str, Any]]] | None = None

    def __post_init__(self) -> None:
        if self.references is not None:
            warnings.warn("SearchSpace(references=...) is now called baselines: rename it", FutureWarning, stacklevel=3)
            object.__setattr__(self, "baselines", self.references)
            object.__setattr__(self, "references", None)

    def config(self, data: DataSummary, overrides: Mapping[str, Any], fixed: Mapping[str, Any]) -> TrialConfig:
        """The full config of a trial: defaults < data set < space < overrides (suggested) < fixed (command line).

        The fixed seed alone gives way to the overrides: a space that varies the seed asks what chance does.
        """
        params: Params = {"dataset": data.name, **data.defaults, **self.base, **overrides, **fixed}
        if "seed" in overrides:
            params["seed"] = overrides["seed"]
        return TrialConfig.from_params(params)


def builtin_spaces() -> list[str]:
    """Names of the spaces in `search_spaces/`."""
    import search_spaces

    return sorted(module.name for module in pkgutil.iter_modules(search_spaces.__path__))


@dataclasses.dataclass(frozen=True)
class LoadedSpace:
    """A space with the file it came from, so that a changed file is noticed on resume."""

    name: str
    path: Path
    hash: str
    space: SearchSpace


def load_space(name: str) -> LoadedSpace:
    """Loads a space by its name in `search_spaces/` or by the path of a Python file that defines `SPACE`.

    Raises:
        UserError: No such space; or the file does not run or defines no `SPACE`.
    """
    if name in builtin_spaces():
        import search_spaces

        path = Path(next(iter(search_spaces.__path__))) / f"{name}.py"
    elif name.endswith(".py"):
        path = Path(name).absolute()
    else:
        raise UserError(f"no search space {name!r}: choose from {', '.join(builtin_spaces())}, or give a .py file")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", path.stem):
        raise UserError(f"search space file {path.name}: name it in letters, digits, - and _ alone")
    try:
        source = path.read_bytes()
        module_spec = importlib.util.spec_from_file_location(f"search_spaces.{path.stem}", path)
        if module_spec is None or module_spec.loader is None:
            raise UserError(f"search space {path}: not a Python file")
        module = importlib.util.module_from_spec(module_spec)
        sys.modules[module_spec.name] = module
        module_spec.loader.exec_module(module)
    except OSError as error:
        raise UserError(f"search space {path}: {error.strerror or error}") from error
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a user's file may raise anything at all
        raise UserError(f"search space {path} does not run: {type(error).__name__}: {error}") from error
    space = getattr(module, "SPACE", None)
    if not isinstance(space, SearchSpace):
        raise UserError(f"search space {path}: define SPACE = SearchSpace(...), as the files in search_spaces/ do")
    return LoadedSpace(path.stem, path, hashlib.sha256(source).hexdigest(), space)
