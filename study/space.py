"""A search space: one question, what varies, and the first points. The built-in files are in `search_spaces/`."""

from __future__ import annotations

import dataclasses
import inspect
import linecache
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.components import Components
from study.config import DataSummary, Params, TrialConfig
from study.errors import UserError, located_errors
from study.ranges import RANGES
from study.source import Source, code_hash, gather, run
from study.space_code import code_of_space

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
"""Weights worth searching, as multiples of the data's total pixel variance. A range holds both ends of the trade-off.

They come from digits (d = 8, half-decade steps from 1e-4 to 10, one seed). A range begins at the weight whose codes or
samples first differ from a plain autoencoder's, and ends at about twice the error or at posterior collapse.
"""


def weight_range(data: DataSummary, *regularizers: Any) -> tuple[float, float]:
    """The smallest absolute weight range on this data set that covers regularizers: names, or own components."""
    ranges = [WEIGHT_RANGES[item] if isinstance(item, str) else item.weight_range for item in regularizers]
    return min(low for low, _ in ranges) * data.total_variance, max(high for _, high in ranges) * data.total_variance


def _no_points(data: DataSummary) -> Sequence[Mapping[str, Any]]:
    return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """One question and the trials that answer it.

    Attributes:
        question: What the study answers, in one sentence.
        suggest: `suggest(trial, data)` asks the Optuna trial for what varies and returns it as trial parameters. Ask
            for each under its own name (`weight`, `latent_dim`, …).
        base: Trial parameters of every trial. They replace the data set's defaults.
        baselines: Fixed configurations to compare with. They are trained first, as trials of the study, and the search
            does not learn from them.
        first_points: Points of the space to try before the sampler takes over, as values of what `suggest` asks for.
        grid: The first points are the whole study: each is trained once, to the end, and nothing is sampled.
        num_trials: Trials of a default study, baselines included; a grid has as many as it has points.
        objectives: Metrics to trade off, on the validation split: any that has a direction, see
            `study.measure.metrics.METRICS`.
        components: Networks, regularizers, likelihoods, annealing curves, metrics and data sets of the space's own, see
            `study.components`. Trials name them as they name built-in ones.
        cost: How long the default study takes and on which machine, for `--list`.
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
    components: Sequence[Any] = ()
    cost: str = ""
    references: Callable[[DataSummary], Sequence[Mapping[str, Any]]] | None = None

    def __post_init__(self) -> None:
        for name in ("suggest", "baselines", "first_points"):
            if not callable(getattr(self, name)):
                raise UserError(f"SearchSpace({name}={getattr(self, name)!r}): give a function")
        if not isinstance(self.base, Mapping):
            raise UserError(f"SearchSpace(base={self.base!r}): give parameters of every trial as a dict")
        if isinstance(self.objectives, str) or not self.objectives:
            raise UserError(f"SearchSpace(objectives={self.objectives!r}): name at least one metric, in a tuple")
        if len(set(self.objectives)) < len(self.objectives):
            raise UserError(f"SearchSpace(objectives={self.objectives!r}): name each metric once")
        if not isinstance(self.num_trials, int) or not RANGES["num_trials"].holds(self.num_trials):
            raise UserError(f"SearchSpace(num_trials={self.num_trials!r}): it must be {RANGES['num_trials']}")
        object.__setattr__(self, "components", tuple(self.components))
        _ = self.own
        if self.references is not None:
            if self.baselines is not _no_points:
                raise UserError("SearchSpace: references is the old name of baselines; give only baselines")
            warnings.warn(
                "SearchSpace(references=...) is now called baselines: rename it when this file's studies have ended",
                FutureWarning,
                stacklevel=3,
            )
            object.__setattr__(self, "baselines", self.references)
            object.__setattr__(self, "references", None)

    @property
    def own(self) -> Components:
        """The components of the space's own.

        Raises:
            UserError: One of them is not a component, or two have the same name.
        """
        return Components(tuple(self.components))

    @property
    def default_data(self) -> str:
        """The data set of a study that names none: the one that the space brings, or `digits`.

        Raises:
            UserError: The space brings several.
        """
        names = [*self.own.of_kind("dataset")]
        if len(names) > 1:
            raise UserError(f"--dataset is missing: this space brings {', '.join(names)}")
        return names[0] if names else "digits"

    def suggested(self, trial: optuna.trial.BaseTrial, data: DataSummary) -> Mapping[str, Any]:
        """What `suggest` returns.

        Raises:
            UserError: `suggest` raised an error, whose file and line the message names, or returned no mapping.
        """
        with located_errors():
            values = self.suggest(trial, data)
        if not isinstance(values, Mapping):
            place = self.place("def suggest")
            raise UserError(f"{place}suggest returns {values!r}: return the trial's parameters as a dict")
        return values

    def known_trials(self, data: DataSummary) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """What `baselines` and `first_points` return.

        Raises:
            UserError: One of them raised an error, whose file and line the message names.
        """
        known = self._points("baselines", data), self._points("first_points", data)
        if self.grid and not known[1]:
            raise UserError(f"{self.place('grid')}grid=True, and first_points gives none: give the points of the grid")
        return known

    def _points(self, name: str, data: DataSummary) -> list[Mapping[str, Any]]:
        with located_errors():
            points = getattr(self, name)(data)
            found = list(points) if isinstance(points, Iterable) else None
        if found is None or not all(isinstance(point, Mapping) for point in found):
            raise UserError(f"{self.place(name)}{name} returns {points!r}: return a list of dicts of parameters")
        return found

    def config(self, data: DataSummary, overrides: Mapping[str, Any], fixed: Mapping[str, Any]) -> TrialConfig:
        """The full config of a trial: defaults < data set < space < overrides (suggested) < fixed (command line).

        Only a fixed seed gives way to the overrides, for spaces that vary the seed. `latent_shape` follows from all of
        them and the data.
        """
        params = self._params(data, {**overrides, **fixed})
        if params["dataset"] != data.name:
            place = self.place("dataset")
            raise UserError(
                f"{place}dataset={params['dataset']!r}: --dataset names the data of a study; leave it out here"
            )
        if "seed" in overrides:
            params["seed"] = overrides["seed"]
        try:
            return TrialConfig.from_params(params, self.own).completed().with_map(data)
        except UserError as error:
            raise UserError(f"{self.place(str(error))}{error}") from None

    def place(self, complaint: str) -> str:
        """Where in the space's file a complaint points to, as `FILE, line N: `.

        Args:
            complaint: It begins with a parameter, alone or as `parameter='value'`. The first line with that value in
                quotes counts, else the first with that parameter, else the one where `suggest` begins.
        """
        code = getattr(inspect.unwrap(self.suggest), "__code__", None)
        if code is None:
            return ""
        linecache.checkcache(code.co_filename)
        lines = linecache.getlines(code.co_filename)
        match = re.match(r"(?:unknown parameter )?([\w ]+)(?:=(?:'([^']*)')?)?", complaint)
        for word in (match[2], match[1]) if match else ():
            quoted = re.compile(rf"""["']{re.escape(word)}["']|\b{re.escape(word)}(?=\(| ?=[^=])""") if word else None
            for number, line in enumerate(lines if quoted else (), start=1):
                if quoted and quoted.search(line):
                    return f"{code.co_filename}, line {number}: "
        return f"{code.co_filename}, line {code.co_firstlineno}: "

    def epochs(self, data: DataSummary, fixed: Mapping[str, Any]) -> int:
        """Epochs of a trial that suggests none."""
        try:
            return TrialConfig.from_params(self._params(data, fixed), self.own).epochs
        except UserError as error:
            raise UserError(f"{self.place(str(error))}{error}") from None

    def _params(self, data: DataSummary, values: Mapping[str, Any]) -> Params:
        return {"dataset": data.name, **data.defaults, **self.base, **values}


def builtin_spaces() -> list[str]:
    """Names of the spaces in `search_spaces/`."""
    import search_spaces

    return sorted(module.name for module in pkgutil.iter_modules(search_spaces.__path__))


_HASHES_OF_0_1 = {
    "5a77982fd29508c166f007938b16b8397b342289": "9d46bee1e21c51ea456205cf8e44bb9ffcf52f83",
    "006808a83a698e18b4965fd9360f4c0bcbd50775": "ebfe64c2195b3b53d03c49a1e4cc3348f74f1c1e",
    "289ddb931aea7f6f063ea3951a9cd8218103493d": "4a60437439c3a68f9e06248d03bce1a0335a167b",
    "95f0cbece0b56d1df5991cce94d9b200a2dbf471": "b749d640606e1ccba1f28f030ec1e79fff8ee6f0",
    "82fe4caf4bfcb7ac6570b3a49d50f2ae53f0da2b": "19a6b45bda33f75c203ad009c552b6356272a2ad",
    "5a6a3de9b2c290cd57d35f43970449b24650aee3": "357eef00bff56b3d24ca5354172a1f1484e949a4",
    "84991a362dd0fcacc6ec316b45bf7d5d3378ae68": "67b7322a5ee18d128218b399927125ecd499c006",
    "aa6f88542ec67881db0cd55f71112bc3faed3da7": "bd8f712c4fd6a8c750916fbb1eca7385e9fda7b9",
    "618bf590ad4abb5c740d836f3e022670f2f60341": "4bfc0caae4442fc3b9a2bdd90f5d35f4c693d3a5",
    "27f2f2eb9d39cff6a37cf3ea0bff8eb316f30c61": "4aa661a63679446a04b988a0bedbfafca9cb642c",
    "77f6f412a7643b00dd8bdd06d0c3f935d755cca4": "6a48db32736a45c95d580b84e8fa281c8fc5bca3",
}
"""Hash of a built-in file's bytes that version 0.1 recorded -> hash of that code today; 40 digits of each."""


@dataclasses.dataclass(frozen=True)
class LoadedSpace:
    """A space with the code it came from, so that a changed file is noticed on resume.

    Attributes:
        name: The file's name without its suffix.
        source: Its file and the modules beside it that it imports; of an object of a script or notebook, the part that
            defines it.
        space: What it defines.
        whole: The whole script, if its `SPACE` is this object.
    """

    name: str
    source: Source
    space: SearchSpace
    whole: bytes | None = None

    @property
    def path(self) -> Path:
        """The space's file."""
        return self.source.path

    @property
    def hash(self) -> str:
        """Hash of the code: comments, docstrings and layout do not count."""
        return self.source.hash

    @property
    def is_builtin(self) -> bool:
        """Whether it is one of the files in `search_spaces/`."""
        return self.path == _builtin_path(self.name)

    def is_same(self, recorded: str) -> bool:
        """Whether a study recorded this space's hash, or that of the same space as an object of its file."""
        if self.source.is_same(recorded) or _HASHES_OF_0_1.get(recorded[:40]) == self.hash[:40]:
            return True
        if self.whole is not None and recorded == code_hash(self.whole):
            return True
        code = code_of_space(self.space)
        return code is not None and recorded == code_hash(code)


def _builtin_path(name: str) -> Path:
    import search_spaces

    return Path(next(iter(search_spaces.__path__))) / f"{name}.py"


def load_space(name: str) -> LoadedSpace:
    """Loads a space by its name in `search_spaces/` or by the path of a Python file that defines `SPACE`.

    Raises:
        UserError: There is no such space, or the file fails to run or defines no `SPACE`.
    """
    if name in builtin_spaces():
        path = _builtin_path(name)
    elif name.endswith(".py"):
        path = Path(name).absolute()
    else:
        raise UserError(f"no search space {name!r}: choose from {', '.join(builtin_spaces())}, or give a .py file")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", path.stem):
        raise UserError(f"search space file {path.name}: name it in letters, digits, - and _ alone")
    try:
        source = gather(path)
    except OSError as error:
        raise UserError(f"search space {path}: {error.strerror or error}") from error
    module = run(source)
    space = getattr(module, "SPACE", None)
    if not isinstance(space, SearchSpace):
        raise UserError(f"search space {path}: define SPACE = SearchSpace(...), as the files in search_spaces/ do")
    return LoadedSpace(path.stem, source, space)
