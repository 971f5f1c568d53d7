"""A search space: one question, what varies, and the first points. The built-in files are in `search_spaces/`."""

from __future__ import annotations

import dataclasses
import linecache
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from study.components import Components
from study.config import DataSummary, Params, TrialConfig
from study.errors import UserError, located_errors
from study.grid import Derive, GridSuggest, Values
from study.ranges import RANGES
from study.source import Source, code_hash, gather, run
from study.space_code import EARLIER_HASHES, SIZED_HASHES, code_of_space, definition_of
from study.weights import EARLIER_LATENT_SIZES
from study.weights import first_weight as first_weight
from study.weights import latent_sizes as latent_sizes
from study.weights import weight_range as weight_range

if TYPE_CHECKING:
    import optuna


def _no_points(data: DataSummary) -> Sequence[Mapping[str, Any]]:
    return ()


def _no_suggestion(trial: optuna.trial.BaseTrial, data: DataSummary) -> Mapping[str, Any]:
    return {}


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
        grid: The values of each parameter, as in `{"latent_dim": (2, 8), "weight": lambda data: (...)}`: each of their
            combinations is trained once, to the end, and nothing is sampled; the last parameter changes fastest. True
            says the same of `first_points`.
        derive: With values as `grid`: `derive(point, data)` returns parameters that follow from a point's.
        num_trials: Trials of a default study, baselines included; a grid has as many as it has points.
        objectives: Metrics to trade off, on the validation split: any that has a direction, see
            `study.measure.metrics.METRICS`.
        components: Networks, regularizers, likelihoods, annealing curves, priors, metrics, data sets, feature networks
            and figures of the space's own, see `study.components`. Trials name them as they name built-in ones.
        sampler: What suggests the trials of a study that names no sampler: a name as of `--sampler`, or a class or
            function that is called with `seed=` and gives an Optuna sampler.
        cost: How long the default study takes and on which machine, for `--list`.
        references: The old name of `baselines`.
    """

    question: str
    suggest: Callable[[optuna.trial.BaseTrial, DataSummary], Mapping[str, Any]] = _no_suggestion
    base: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    baselines: Callable[[DataSummary], Sequence[Mapping[str, Any]]] = _no_points
    first_points: Callable[[DataSummary], Sequence[Mapping[str, Any]]] = _no_points
    grid: bool | Values = False
    derive: Derive | None = None
    num_trials: int = 24
    objectives: tuple[str, ...] = ("reconstruction_mse", "sample_fid")
    components: Sequence[Any] = ()
    sampler: str | Callable[..., Any] | None = None
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
        self._expand_grid(sys._getframe(2))
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

    def _expand_grid(self, caller: FrameType) -> None:
        """Makes of a grid of values what one would write by hand: `suggest`, `first_points` and their number."""
        if isinstance(self.grid, bool):
            if self.suggest is _no_suggestion:
                raise UserError("SearchSpace: give suggest, or grid={...} with the values of each parameter")
            if self.derive is not None:
                raise UserError("SearchSpace(derive=...): it belongs to grid={...}; without, let suggest return all")
            return
        if not isinstance(self.grid, Mapping):
            raise UserError(f"SearchSpace(grid={self.grid!r}): give the values of each parameter in a dict, or True")
        if self.suggest is not _no_suggestion or self.first_points is not _no_points:
            raise UserError("SearchSpace(grid={...}): it says what suggest and first_points say; give only the grid")
        module, file = str(caller.f_globals.get("__name__", "")), caller.f_code.co_filename
        suggest = GridSuggest(self.grid, self.derive, module, file, caller.f_lineno)
        known = {"suggest": suggest, "first_points": suggest.points, "grid": True, "derive": None}
        if suggest.size is not None and self.baselines is _no_points and self.references is None:
            known["num_trials"] = suggest.size
        for name, value in known.items():
            object.__setattr__(self, name, value)

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

    @property
    def default_feature_network(self) -> str | None:
        """What samples are compared in if the user names nothing: the one network that the space brings, or None.

        Raises:
            UserError: The space brings several.
        """
        names = [*self.own.of_kind("feature_network")]
        if len(names) > 1:
            raise UserError(f"--feature-network is missing: this space brings {', '.join(names)}")
        return names[0] if names else None

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

        A fixed seed alone gives way to the overrides. `latent_shape` follows from all of them and the data.
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
        file, first = definition_of(self.suggest)
        if not file:
            return ""
        linecache.checkcache(file)
        lines = linecache.getlines(file)
        match = re.match(r"(?:unknown parameter )?([\w ]+)(?:=(?:'([^']*)')?)?", complaint)
        for word in (match[2], match[1]) if match else ():
            quoted = re.compile(rf"""["']{re.escape(word)}["']|\b{re.escape(word)}(?=\(| ?=[^=])""") if word else None
            for number, line in enumerate(lines if quoted else (), start=1):
                if quoted and quoted.search(line):
                    return f"{file}, line {number}: "
        return f"{file}, line {first}: "

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


@dataclasses.dataclass(frozen=True)
class LoadedSpace:
    """A space with the code it came from, so that a changed file is noticed on resume.

    Attributes:
        name: The file's name without its suffix.
        source: Its file and the modules that it imports; of an object of a script or notebook, what defines it.
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

    def is_same(self, recorded: str, data: DataSummary) -> bool:
        """Whether a study of these data recorded this space's hash, or that of the space as an object of its file."""
        sizes_are_as_they_were = self.hash[:40] not in SIZED_HASHES or latent_sizes(data) == EARLIER_LATENT_SIZES
        earlier = EARLIER_HASHES.get(recorded[:40]) == self.hash[:40] and sizes_are_as_they_were
        if self.source.is_same(recorded) or earlier:
            return True
        if self.whole is not None and recorded == code_hash(self.whole):
            return True
        return (code := code_of_space(self.space)) is not None and recorded == code_hash(code)


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
