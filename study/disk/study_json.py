"""`study.json`: what a study is. It is written when the study begins and checked when the study is resumed."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AliasChoices, Field, StrictBool, StrictStr

from study.changes import Change
from study.components import Components, Described
from study.config import DataSummary, UserError
from study.disk.files import read_json, write_json
from study.disk.layout import STUDY_NAME, ledger_path, restore_command, study_path, trial_folders
from study.disk.timestamp import now
from study.ranges import RANGES
from study.space import LoadedSpace

FORMAT = 1
BLIND_SHARE = 0.95
"""A model that keeps more than this share of the mean image's error has learned next to nothing."""
_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy", "scikit-learn")


def _in_range(name: str) -> pydantic.AfterValidator:
    """Refuses what lies outside the option's range."""

    def check(value: float) -> float:
        if not RANGES[name].holds(value):
            raise ValueError(f"it must be {RANGES[name]}")
        return value

    return pydantic.AfterValidator(check)


_StrictInt = Annotated[int, Field(strict=True)]
_Plain = StrictStr | int | float


class WarmStart(pydantic.BaseModel, frozen=True, extra="allow"):
    """The earlier study whose front a study began with.

    Attributes:
        study: Its name.
        points: Its Pareto-optimal points, as values of what the space asks for.
    """

    study: StrictStr
    points: list[dict[str, _Plain]]


class StudyRecord(pydantic.BaseModel, frozen=True, extra="allow"):
    """What `study.json` holds. Fields with a default were missing in earlier versions.

    Attributes:
        format: Of this file.
        id: Tells the study from others of its name.
        name: Its folder's name.
        space: The search space's name.
        space_path: The file the space came from.
        space_hash: Hash of that file's code.
        question: What the study asks.
        grid: The points were given and nothing is sampled.
        objectives: `minimize` or `maximize` by recorded metric (`val/sample_fid`), in order.
        data: The data set.
        classes: Names of the labels, in order; none where earlier versions recorded none.
        seed: Of search and training.
        epochs: Of every trial, if the command line fixed them.
        image_size: Pixels of each side that the images of a folder were resized to, if the user said so.
        sampler: The sampler's name, or `module:Class`.
        scheduler: The scheduler's name.
        eta: One trial in eta goes on at each rung; None if no trial stops early.
        feature_network: What samples are compared in, if the user said so.
        num_trials: Trials the study is to have.
        command: The command that began it, without secrets.
        data_dir: Where data sets lay, if the user said so.
        storage: The database of the ledger, without its password; None for the study's own file.
        warm_start: The earlier study it began with.
        components: What the space brings of its own; their code is in the folder `code`.
        changes: What `study control` has changed, as far as the driver has seen it. The ledger has the records.
        versions: Version by package.
        git_commit: Of this code.
        created: ISO 8601, UTC.
        evaluation: What the metrics are measured with: feature networks, real-data baselines, PCA errors, counts.
        outcome: `running`, or how the newest session ended.
        hypervolume_reference: The point up to which the hypervolume is measured, once it is settled.
    """

    format: Literal[1] = FORMAT
    id: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9-]{1,100}$")]
    name: Annotated[str, Field(strict=True, pattern=f"^{STUDY_NAME.pattern}$")]
    space: StrictStr
    space_path: StrictStr = ""
    space_hash: StrictStr
    question: StrictStr
    grid: StrictBool = False
    objectives: Annotated[dict[str, Literal["minimize", "maximize"]], Field(min_length=1)]
    data: DataSummary
    classes: list[StrictStr] = []
    seed: Annotated[_StrictInt, _in_range("seed")]
    epochs: Annotated[_StrictInt, _in_range("epochs")] | None = None
    image_size: Annotated[_StrictInt, _in_range("image_size")] | None = None
    sampler: StrictStr
    scheduler: StrictStr | None = None
    eta: Annotated[float, _in_range("eta")] | None = None
    feature_network: StrictStr | None = None
    num_trials: Annotated[_StrictInt, _in_range("num_trials")]
    command: StrictStr | None = None
    data_dir: StrictStr | None = None
    storage: StrictStr | None = None
    warm_start: WarmStart | None = None
    components: tuple[Described, ...] = ()
    changes: tuple[Change, ...] = ()
    versions: dict[str, Any] | None = None
    git_commit: StrictStr | None = None
    created: StrictStr
    evaluation: Annotated[dict[str, Any], Field(validation_alias=AliasChoices("evaluation", "references"))] = {}
    outcome: StrictStr | None = None
    hypervolume_reference: list[float] | None = None

    @pydantic.field_validator("evaluation", mode="before")
    @classmethod
    def _rename(cls, value: Any) -> Any:
        """Earlier versions called the real-data baseline `floor`, and left the whole out."""
        if not isinstance(value, dict):
            return {} if value is None else value
        return {"real_data" if name == "floor" else name: entry for name, entry in value.items()}

    @property
    def instruments(self) -> tuple[Any, ...]:
        """What tells the feature networks of studies apart: their scores of samples compare if this is equal.

        Not the networks' hashes: another processor may round the weights otherwise, with scores that hardly differ.
        """
        found = [self.evaluation.get(key) or {} for key in ("instrument", "second_instrument")]
        return tuple((network.get("name"), network.get("spec")) for network in found)

    @property
    def mean_image_error(self) -> float:
        """The reconstruction error of a model that gives every validation image the mean of the training images.

        Infinite in studies begun before this was measured, until they are resumed.
        """
        return float(self.evaluation.get("pca", {}).get("validation", {}).get("0", math.inf))

    def is_blind(self, error: float) -> bool:
        """Whether a model of this reconstruction error (per pixel, validation) does not beat the mean image clearly."""
        return error > BLIND_SHARE * self.mean_image_error

    @property
    def described(self) -> Components:
        """The descriptions of the space's own components: names and types without code."""
        return Components(self.components)

    def replace(self, **changes: Any) -> StudyRecord:
        """A copy with some fields changed."""
        return self.model_copy(update=changes)


def parse_study(
    content: Mapping[str, Any], source: str, remedy: str = "restore it, or choose another --study"
) -> StudyRecord:
    """Checks what a `study.json` holds.

    Args:
        content: The JSON object.
        source: Where it was found, for the message.
        remedy: What to do if it is damaged, for the message.

    Raises:
        UserError: A field is missing or of another kind, or the file is of a later format.
    """
    if content.get("format") != FORMAT:
        raise UserError(
            f"{source} has format {content.get('format')!r}, this version reads {FORMAT}: use the version that wrote it"
        )
    try:
        return StudyRecord.model_validate(content)
    except pydantic.ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        seen = repr(content[field])[:60] if field in content else "missing"
        raise UserError(f"{source} is damaged, {field} is {seen}: {remedy}") from None


def read_study(directory: Path) -> StudyRecord | None:
    """The record in a study's folder; None if there is no study.

    Raises:
        UserError: The record is damaged or of a later format, or it is missing where a study has trials.
    """
    path = study_path(directory)
    if not path.exists():
        if ledger_path(directory).exists() or trial_folders(directory):
            raise UserError(f"{path} is missing, and the study has trials: {_restore(path)}")
        return None
    content = read_json(path)
    if content is None:
        raise UserError(f"{path} is not readable as JSON: {_restore(path)}")
    return parse_study(content, str(path), _restore(path))


def _restore(path: Path) -> str:
    return f"restore it from MLflow with {restore_command(path.parent)}, or choose another --study"


def write_study(directory: Path, record: StudyRecord) -> None:
    """Writes the record atomically."""
    write_json(study_path(directory), record.model_dump(mode="json"))


def new_study(
    name: str, loaded: LoadedSpace, data: DataSummary, directions: Mapping[str, str], settings: Mapping[str, Any]
) -> StudyRecord:
    """The record of a study about to begin.

    Args:
        name: The study's name.
        loaded: Its search space.
        data: Its data.
        directions: `minimize` or `maximize` by objective.
        settings: Seed, epochs, num_trials, sampler and further fields of `StudyRecord`.

    Raises:
        UserError: A setting is out of range.
    """
    content = {
        "id": uuid.uuid4().hex,
        "name": name,
        "space": loaded.name,
        "space_path": str(loaded.path),
        "space_hash": loaded.hash,
        "question": loaded.space.question,
        "grid": loaded.space.grid,
        "objectives": dict(directions),
        "components": tuple(Described.of(component) for component in loaded.space.components),
        "data": data,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "git_commit": _git_commit(),
        "created": now(),
        "outcome": "running",
        **settings,
    }
    try:
        return StudyRecord.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--{str(first['loc'][0]).replace('_', '-')} {first['input']}: {first['msg']}") from None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _git_commit() -> str | None:
    """The commit of this code, with `-dirty` if files were changed; None if neither Git nor an image tells."""
    if commit := os.environ.get("STUDY_GIT_COMMIT"):
        return commit
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    here = Path(__file__).parent
    try:
        result = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
